"""`RemoteReranker` against a running server: what comes back is what a local reranker says."""

import asyncio
from dataclasses import replace

import pytest

from finerank import Document, Ranking, RemoteReranker
from finerank.errors import FinerankError, NotFound, RequestTooLarge, ScoreError, Unauthorized, Unavailable
from finerank.testing import OverlapBackend, stub_reranker

QUERY = "hold the reset button"
DOCUMENTS = [
    "Keep it dry.",
    Document("Hold the reset button.", id=7, metadata={"source": object()}),
    "",
    Document("按住重置按钮 reset", id="zh"),
    "Keep it dry.",
]


def without_seconds(ranking: Ranking) -> Ranking:
    return replace(ranking, usage=replace(ranking.usage, seconds={}))


@pytest.mark.parametrize("options", [{}, {"top_n": 2}, {"top_n": 0}, {"threshold": 0.55}], ids=str)
def test_local_and_remote_rankings_are_equal(server, options):
    local = stub_reranker().rank(QUERY, DOCUMENTS, **options)
    with RemoteReranker(server.url + "/") as remote:
        sync = remote.rank(QUERY, DOCUMENTS, **options)

    async def awaited() -> Ranking:
        async with RemoteReranker(server.url) as remote:
            return await remote.rank_async(QUERY, DOCUMENTS, **options)

    for ranking in (sync, asyncio.run(awaited())):
        assert without_seconds(ranking) == without_seconds(local)
        assert all(result.document is DOCUMENTS[result.index] for result in ranking if result.index in (1, 3))


def test_marks_of_cut_and_chunked_documents_come_back(start_server):
    long = ["a long story " * 400 + "hold the reset button", "hold"]
    for options in ({}, {"long_documents": "chunk"}):
        server = start_server(lambda name, options=options: stub_reranker(**options))
        with RemoteReranker(server.url) as remote:
            ranking = remote.rank(QUERY, long)
        assert ranking.results == stub_reranker(**options).rank(QUERY, long).results
        assert [result.truncated for result in ranking if result.index == 0] == [not options]


def test_connections_are_reused_and_closed_with_their_loop(server):
    remote = RemoteReranker(server.url)

    async def several() -> None:
        await asyncio.gather(*(remote.rank_async(QUERY, DOCUMENTS) for _ in range(5)))
        assert len(remote._async_clients) == 1

    for _ in range(3):
        asyncio.run(several())
    (client, _), *rest = remote._async_clients.values()
    assert client.is_closed
    assert rest == []
    remote.close()


def test_the_key_is_sent_and_a_wrong_one_told(start_server):
    url = start_server(api_keys=("secret",)).url
    with RemoteReranker(url, "secret") as remote:
        assert len(remote.rank(QUERY, DOCUMENTS)) == 5
        assert "secret" not in repr(remote)
    with RemoteReranker(url, "wrong") as remote, pytest.raises(Unauthorized):
        remote.rank(QUERY, DOCUMENTS)


def test_the_servers_errors_are_ours(start_server):
    server = start_server(lambda name: stub_reranker(OverlapBackend(nan_word="cursed")), max_documents=3)
    cases: list[tuple[dict[str, object], list[str], type[FinerankError], str]] = [
        ({}, ["fine", "cursed"], ScoreError, r"documents\[1\]"),
        ({}, ["a"] * 4, RequestTooLarge, "max_documents"),
        ({"model": "no-such"}, ["a"], NotFound, "no-such"),
    ]
    for options, documents, kind, message in cases:
        with RemoteReranker(server.url, **options) as remote, pytest.raises(kind, match=message):
            remote.rank(QUERY, documents)


def test_a_server_that_fails_open_says_so_and_no_threshold_empties_its_order(start_server):
    server = start_server(lambda name: stub_reranker(OverlapBackend(error=RuntimeError("broken"))), fail_open=True)
    with RemoteReranker(server.url) as remote:
        ranking = remote.rank(QUERY, DOCUMENTS, threshold=0.5)
    assert [result.index for result in ranking] == [0, 1, 2, 3, 4]
    assert "broken" in ranking.degraded


def test_a_server_that_is_gone_is_unavailable(start_server):
    server = start_server()
    remote = RemoteReranker(server.url)
    remote.rank(QUERY, DOCUMENTS)
    server.stop()
    server.join()
    with pytest.raises(Unavailable, match=r"cannot be reached .* Is the server running"):
        remote.rank(QUERY, DOCUMENTS)
    remote.close()
