"""A browser, and a server with models of no weights for the page to talk to."""

import math
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Locator, Page, Request, sync_playwright

from finerank.rag.open import open_embedder
from finerank.reranker import Reranker
from finerank.retrieval.index import index
from finerank.scoring.batch import Batch
from finerank.serving.server import Server
from finerank.settings import RagSettings, ServeSettings
from finerank.testing import OverlapBackend, stub_reranker

CHROMIUM = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]

QUERY = "how do I reset the admin password"
CANDIDATES = [
    "Our routers come in black and white.",
    "Keep it dry. How do I reset the admin password? Hold the button.",
    "Passwords must have twelve characters.",
    "The admin will reset the meeting.",
    "Forgot the password? Ask the admin.",
]
DOCUMENTS = {
    "router.md": "# Router\n\n## Reset\n\nYou do reset the router so: how long do I hold the button? Ten seconds.\n",
    "twin.md": "# Router\n\n## Reset\n\nYou do reset the router so: how long do I hold the button? Ten seconds!\n",
    "lamp.md": "# Lamp\n\nThe lamp of the router is green. <img src=x onerror=alert(1)>\n",
    "bread.md": "# Bread\n\nKnead the dough, and let it rest.\n",
}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker("browser")


@dataclass
class Wide(OverlapBackend):
    """The share of the query's words in a passage as logits from -4 to 4. Waits when `allowed` batches are done."""

    allowed: float = math.inf
    sign: int = 1

    def forward(self, batch: Batch):
        while self.allowed <= 0:
            time.sleep(0.01)
        self.allowed -= 1
        return self.sign * (super().forward(batch) * 8 - 4)


@dataclass
class Site:
    """A running server: where it is, and the backend of its first model."""

    url: str
    backend: Wide
    http: httpx.Client


def _serve(folder: Path, **settings: Any) -> Iterator[Site]:
    backend = Wide()
    reranker = {"stub": backend, "backwards": Wide(sign=-1)}

    def load(name: str) -> Reranker:
        return stub_reranker(reranker[name])

    server = Server("stub", load, ServeSettings(port=0, state_dir=str(folder), **settings))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    with httpx.Client(base_url=server.url, timeout=30, trust_env=False) as http:
        while http.get("/health").status_code != 200:
            time.sleep(0.01)
        yield Site(server.url, backend, http)
    server.stop()
    thread.join(20)
    assert not thread.is_alive()


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    yield from _serve(tmp_path_factory.mktemp("site"), more_models=("backwards",))


@pytest.fixture(scope="session")
def locked_site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Its key is "open-sesame", its admin key "abracadabra"."""
    folder = tmp_path_factory.mktemp("locked")
    keys = folder / "keys"
    keys.write_text("open-sesame\n")
    keys.chmod(0o600)
    yield from _serve(folder, api_keys_file=str(keys), admin_keys=("abracadabra",))


@pytest.fixture(scope="session")
def asking_site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """It answers from a store of `DOCUMENTS`."""
    folder = tmp_path_factory.mktemp("asking")
    docs = folder / "docs"
    docs.mkdir()
    for name, text in DOCUMENTS.items():
        (docs / name).write_text(text, encoding="utf-8")
    embedder, made = open_embedder(RagSettings())
    index([docs], folder / "store", embedder, made)
    yield from _serve(folder / "state", store=str(folder / "store"))


@pytest.fixture(scope="module")  # while it lives there is an event loop, in which other tests could start none
def chromium() -> Iterator[Browser]:
    path = (
        os.environ.get("CHROMIUM")
        or shutil.which("chromium")
        or shutil.which("chromium-browser")
        or shutil.which("google-chrome")
    )
    if path is None:
        pytest.skip("Chromium is not installed: apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=CHROMIUM)
        yield browser
        browser.close()


class Visit:
    """A page in a context of its own, and what went wrong on it.

    `said` looks up what the page says in its language. Failures of requests that a test provokes are `expected`.
    """

    def __init__(self, context: BrowserContext, url: str) -> None:
        self.context = context
        self.url = url
        self.page: Page = context.new_page()
        self.expected: tuple[str, ...] = ()
        self.errors: list[str] = []
        self.requests: list[Request] = []
        self.page.on("console", self._note)
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("request", lambda request: self.requests.append(request))

    def open(self, tab: str = "") -> "Visit":
        self.page.goto(f"{self.url}/#{tab}" if tab else f"{self.url}/")
        self.page.wait_for_selector(".dot.ready")
        return self

    def said(self, name: str, /, **values: object) -> str:
        script = "([name, values]) => import('./js/i18n.js').then(({t}) => t(name, values))"
        return str(self.page.evaluate(script, [name, values]))

    def module(self, script: str, *arguments: object) -> Any:
        """`script` is a function of the page's modules, as in "async (input) => ..."; they are under /js/."""
        return self.page.evaluate(script, *arguments)

    def button(self, name: str, /, **values: object) -> Locator:
        return self.page.get_by_role("button", name=self.said(name, **values), exact=True)

    def fill(self, query: str = QUERY, candidates: list[str] | str = CANDIDATES) -> None:
        self.page.fill("#query", query)
        self.page.fill("#candidates", candidates if isinstance(candidates, str) else "\n".join(candidates))

    def rank(self, query: str = QUERY, candidates: list[str] | str = CANDIDATES) -> None:
        self.fill(query, candidates)
        self.page.click("#run")
        self.ranked()

    def ranked(self) -> None:
        self.page.wait_for_selector("#rerank:not(.busy) .strip dd")
        self.until("performance.getEntriesByName('finerank:render').length > 0")

    def until(self, script: str) -> None:
        """Playwright's own wait evaluates in the page, which the page's policy forbids."""
        deadline = time.monotonic() + 20
        while not self.page.evaluate(script):
            assert time.monotonic() < deadline, f"never true: {script}"
            self.page.wait_for_timeout(20)

    def cards(self) -> Locator:
        return self.page.locator(".card")

    def order(self) -> list[str]:
        """The candidates' names as the cards have them: "Candidate 2" and so on, as numbers."""
        return ["".join(c for c in name if c.isdigit()) for name in self.page.locator(".card .given").all_inner_texts()]

    def sent(self, path: str) -> list[Request]:
        return [request for request in self.requests if request.url.split("?")[0].endswith(path)]

    def close(self) -> None:
        if self.page.url.startswith(self.url):
            self.page.evaluate("localStorage.clear()")
        self.page.goto("about:blank")  # ends what is still being asked, before the routes that answer it go
        self.page.unroute_all(behavior="ignoreErrors")
        for page in self.context.pages:
            page.close()

    def check(self) -> None:
        """Nothing failed unexpectedly, and nothing was asked of anyone else."""
        unexpected = [error for error in self.errors if not any(part in error for part in self.expected)]
        assert unexpected == []
        others = [r.url for r in self.requests if not r.url.startswith((f"{self.url}/", "blob:", "data:"))]
        assert others == []

    def _note(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.errors.append(message.text)


StartVisit = Callable[..., Visit]


@pytest.fixture(scope="module")
def open_context(chromium: Browser) -> Iterator[Callable[..., BrowserContext]]:
    """A browser without a past; those with the same options share one, and what the browser has compiled."""
    opened: dict[str, BrowserContext] = {}

    def open_(**options: Any) -> BrowserContext:
        name = repr(sorted(options.items(), key=str))
        if name not in opened:
            usual = {"viewport": {"width": 1280, "height": 900}, "reduced_motion": "reduce"}
            opened[name] = chromium.new_context(**(usual | options))
            opened[name].set_default_timeout(20_000)
        return opened[name]

    yield open_
    for context in opened.values():
        context.close()


@pytest.fixture
def start_visit(open_context: Callable[..., BrowserContext], site: Site) -> Iterator[StartVisit]:
    """`start_visit(language, **context)`: a page, checked when the test ends. `open` goes to the site."""
    visits: list[Visit] = []

    def start(language: str = "en-GB", *, at: Site = site, **options: Any) -> Visit:
        visits.append(Visit(open_context(locale=language, **options), at.url))
        return visits[-1]

    yield start
    site.backend.allowed = math.inf
    for visit in visits:
        visit.close()
    for visit in visits:
        visit.check()


@pytest.fixture(params=["en-GB", "zh-CN"])
def visit(request: pytest.FixtureRequest, start_visit: StartVisit) -> Visit:
    """The page, once in either language."""
    return start_visit(request.param).open()


@pytest.fixture
def english(start_visit: StartVisit) -> Visit:
    return start_visit().open()
