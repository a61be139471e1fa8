"""`finerank mcp` in front of a server; with a model of its own: cli/test_mcp.py."""

import asyncio
import sys
from typing import Any

from mcp import Client, StdioServerParameters, stdio_client

from finerank.testing import stub_reranker

from .conftest import QUERY, TEXTS


def test_a_servers_model_ranks(server_url: str):
    async def run() -> Any:
        arguments = ["-m", "finerank", "mcp", "--url", server_url]
        process = StdioServerParameters(command=sys.executable, args=arguments, env={"FINERANK_API_KEY": "secret"})
        async with Client(stdio_client(process), read_timeout_seconds=60) as client:
            tools = [tool.name for tool in (await client.list_tools()).tools]
            return tools, await client.call_tool("rerank", {"query": QUERY, "documents": TEXTS})

    tools, answer = asyncio.run(asyncio.wait_for(run(), 120))
    assert tools == ["rerank"]
    found = [(result["index"], result["score"]) for result in answer.structured_content["results"]]
    assert found == [(result.index, result.score) for result in stub_reranker().rank(QUERY, TEXTS)]
