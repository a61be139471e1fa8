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
    assert tools == {"rerank", "search"}
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


def test_nothing_but_the_protocol_is_on_standard_output(tmp_path: Path):
    """A client that hangs up at once: the process ends well, and has said nothing."""
    ended = subprocess.run(
        [sys.executable, "-m", "finerank", "mcp"], input="", capture_output=True, text=True, timeout=60
    )
    assert (ended.returncode, ended.stdout) == (0, "")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--model", "/no/such"], "no such folder"),
        (["--store", "/no/such"], "/no/such"),
        (["--url", "localhost"], "url='localhost'"),
        (["--url", "http://localhost", "--dtype", "fp16"], "dtype: is for a model loaded here"),
    ],
)
def test_what_cannot_start_says_why(arguments: list[str], message: str):
    ended = subprocess.run(
        [sys.executable, "-m", "finerank", "mcp", *arguments], capture_output=True, text=True, timeout=60
    )
    assert (ended.returncode, ended.stdout) == (1, "")
    assert message in ended.stderr
