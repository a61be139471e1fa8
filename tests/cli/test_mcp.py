"""`finerank mcp` as a process, spoken to by the protocol's own client."""

import asyncio
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from mcp import Client, StdioServerParameters, stdio_client
from typer.testing import CliRunner

from finerank.cli import build_app

QUERY = "how do I reset the router password?"
TEXTS = ["Keep the router dry.", "Hold the reset button for ten seconds to reset the router's password."]


def with_client(arguments: list[str], talk: Callable[[Client], Awaitable[Any]], log: Path, **environment: str) -> Any:
    async def run() -> Any:
        parameters = StdioServerParameters(
            command=sys.executable, args=["-m", "finerank", "mcp", *arguments], env=environment
        )
        with log.open("w") as stderr:
            async with Client(stdio_client(parameters, errlog=stderr), read_timeout_seconds=60) as client:
                return await talk(client)

    return asyncio.run(asyncio.wait_for(run(), 120))


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("mcp")
    for number, text in enumerate(TEXTS):
        (folder / f"{number}.txt").write_text(text)
    made = CliRunner().invoke(build_app(("index",)), ["index", str(folder), "--store", str(folder / "store")])
    assert made.exit_code == 0, made.output
    return folder / "store"


def test_reranks_and_searches(store: Path, tmp_path: Path):
    async def talk(client: Client) -> Any:
        tools = {tool.name for tool in (await client.list_tools()).tools}
        ranked = await client.call_tool("rerank", {"query": QUERY, "documents": TEXTS, "top_n": 1})
        found = await client.call_tool("search", {"question": QUERY})
        filtered = await client.call_tool("search", {"question": QUERY, "where": ["source~nowhere"]})
        errors = [
            await client.call_tool("rerank", {"query": " ", "documents": TEXTS}),
            await client.call_tool("search", {"question": QUERY, "where": ["?"]}),
        ]
        return tools, ranked.structured_content, found.structured_content, filtered.structured_content, errors

    tools, ranked, found, filtered, errors = with_client(["--store", str(store)], talk, tmp_path / "log")
    assert tools == {"rerank", "search", "ask", "list", "read"}
    (best,) = ranked["results"]
    assert (best["index"], best["text"], ranked["degraded"]) == (1, TEXTS[1], "")
    assert found["passages"][0]["text"] == TEXTS[1]
    assert found["passages"][0]["metadata"]["source"].endswith("1.txt")
    assert 0.5 < found["passages"][0]["score"] == pytest.approx(best["score"], abs=0.1)
    assert found["order"].startswith("rerank: ")
    assert filtered["passages"] == []
    assert all(error.is_error for error in errors)
    assert "query is empty; there is nothing to rank by" in errors[0].content[0].text
    assert QUERY not in (tmp_path / "log").read_text()


def test_documents_can_be_asked_listed_and_read(tmp_path: Path):
    docs = tmp_path / "docs"
    docs.mkdir()
    steps = " ".join(f"Step {number} of the reset is to press button {number}." for number in range(60))
    (docs / "router.md").write_text(f"# Router\n\n{TEXTS[1]}\n\n## Steps\n\n{steps}\n", encoding="utf-8")
    rows = ['{"id": "w1", "title": "Warranty", "text": "The warranty covers two years.", "lang": "en"}', '"Buy two."']
    (docs / "faq.jsonl").write_text("\n".join(rows), encoding="utf-8")
    run = CliRunner().invoke(build_app(("index",)), ["index", str(docs), "--store", str(tmp_path / "store")])
    assert run.exit_code == 0, run.output

    async def talk(client: Client) -> Any:
        async def call(tool: str, **arguments: Any) -> Any:
            answer = await client.call_tool(tool, arguments)
            return answer.content[0].text if answer.is_error else answer.structured_content

        schemas = {tool.name: tool.input_schema for tool in (await client.list_tools()).tools}
        pages = [await call("read", source="router.md", limit=2)]
        while (following := pages[-1]["next_passage"]) is not None:
            pages.append(await call("read", source="docs/router.md", first_passage=following, limit=2))
        return {
            "schemas": schemas,
            "pages": pages,
            "answer": await call("ask", question=QUERY),
            "unknown": await call("ask", question="who won the chess championship in 1972?"),
            "weak": await call("search", question="warranty"),
            "all": await call("list"),
            "first": await call("list", limit=2),
            "last": await call("list", offset=2),
            "english": await call("list", where=["lang=en"]),
            "record": await call("read", source="faq.jsonl", key="w1"),
            "errors": [
                await call("rerank", query=QUERY, documents=TEXTS, top_k=1),
                await call("search", question=QUERY, filter=["lang=en"], k=3),
                await call("list", limit=0),
                await call("list", limit=1000),
                await call("list", where=["lang"]),
                await call("read", source="other.md"),
                await call("read", source="faq.jsonl", key="w9"),
                await call("read", source="router.md", first_passage=-1),
                await call("ask", question=" "),
            ],
        }

    log = tmp_path / "log"
    said = with_client(["--store", str(tmp_path / "store")], talk, log, FINERANK_RAG_THRESHOLD="0.8")
    assert all(schema["additionalProperties"] is False for schema in said["schemas"].values())
    assert TEXTS[1] in said["answer"]["answer"]
    (cited,) = said["answer"]["citations"]
    assert (cited["number"], cited["heading"], Path(cited["source"]).name) == (1, "Router", "router.md")
    assert said["unknown"]["kind"] == "unknown"
    assert any("0.8" in note for note in said["unknown"]["notes"])
    assert said["weak"]["passages"][0]["below_threshold"]
    assert "warranty" in said["weak"]["passages"][0]["text"]
    assert any("0.8" in note for note in said["weak"]["notes"])

    documents = [(Path(each["source"]).name, each["key"], each["title"]) for each in said["all"]["documents"]]
    assert documents == [("faq.jsonl", "w1", "Warranty"), ("faq.jsonl", "line 2", ""), ("router.md", "", "")]
    assert (said["all"]["total"], said["all"]["next_offset"]) == (3, None)
    assert said["first"]["documents"] + said["last"]["documents"] == said["all"]["documents"]
    assert (said["first"]["next_offset"], said["last"]["next_offset"]) == (2, None)
    assert [each["key"] for each in said["english"]["documents"]] == ["w1"]

    read = [each for page in said["pages"] for each in page["passages"]]
    assert [each["number"] for each in read] == list(range(said["all"]["documents"][2]["passages"]))
    assert len(said["pages"]) > 1
    text = " ".join(each["text"] for each in read)
    assert [text.count(f"press button {number}.") for number in range(0, 60, 7)] == [1] * 9
    assert [each["heading"] for each in read] == ["Router"] + ["Router > Steps"] * (len(read) - 1)
    assert [each["text"] for each in said["record"]["passages"]] == ["The warranty covers two years."]

    for error, words in zip(
        said["errors"],
        [
            "takes no top_k; it takes query, documents, top_n", "takes no filter, k; it takes question, where",
            "limit=0", "at most 200", "where 'lang'", "router.md", "w9", "first_passage=-1", "empty",
        ],
        strict=True,
    ):  # fmt: skip
        assert words in error
    assert QUERY not in log.read_text()


def test_nothing_but_the_protocol_is_on_standard_output(tmp_path: Path):
    """A client that hangs up at once: the process ends well, and has said nothing."""
    ended = subprocess.run(
        [sys.executable, "-m", "finerank", "mcp"], input="", capture_output=True, text=True, timeout=60
    )
    assert (ended.returncode, ended.stdout) == (0, "")


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--model", "/no/such"], 1, "no such folder"),
        (["--store", "/no/such"], 1, "/no/such"),
        (["--url", "localhost"], 2, "url='localhost'"),
        (["--url", "http://localhost", "--dtype", "fp16"], 2, "dtype: is for a model loaded here"),
    ],
)
def test_what_cannot_start_says_why(arguments: list[str], code: int, message: str):
    ended = subprocess.run(
        [sys.executable, "-m", "finerank", "mcp", *arguments], capture_output=True, text=True, timeout=60
    )
    assert (ended.returncode, ended.stdout) == (code, "")
    assert message in ended.stderr
