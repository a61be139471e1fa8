"""What clients of other servers rely on: a score for every document, their fields, their key headers, old paths."""

import json

import pytest

from finerank.serving.dialects import DIALECTS, ROUTES
from finerank.testing import stub_reranker

QUERY = "reset button"
TEXTS = ["Keep it dry.", "Hold the reset button.", "Press reset."]
OBJECTS = [{"text": text} for text in TEXTS]
BODIES = {
    "native": {"query": QUERY, "documents": TEXTS},
    "ollama": {"model": "any", "query": QUERY, "documents": TEXTS},
    "tei": {"query": QUERY, "texts": TEXTS},
    "llamacpp_texts": {"query": QUERY, "texts": TEXTS},
    "nvidia": {"query": {"text": QUERY}, "passages": OBJECTS},
    "mixedbread": {"query": QUERY, "input": TEXTS},
    "vllm_score": {"text_1": QUERY, "text_2": TEXTS},
}
"""A request of each dialect, without any option; the others are asked as the native one."""
LISTS = ("results", "data", "rankings")


def rows(answer: object) -> list[dict[str, object]]:
    """The list of scores in an answer of any dialect."""
    if isinstance(answer, list):
        return answer
    return next(answer[name] for name in LISTS if name in answer)


@pytest.fixture(scope="module")
def strict(start_shared_server):
    """A server whose threshold only the best of `TEXTS` passes."""
    return start_shared_server(lambda name: stub_reranker(threshold=0.7))


@pytest.fixture(scope="module")
def guarded(start_shared_server):
    return start_shared_server(lambda name: stub_reranker(), api_keys=("sesame",))


class TestThreshold:
    @pytest.mark.parametrize("name", sorted(set(DIALECTS) - {"native"}))
    def test_every_imitated_api_scores_every_document(self, strict, name) -> None:
        body = BODIES.get(name, BODIES["native"])
        answer = strict.http.post("/rerank", json=body, headers={"x-finerank-dialect": name})
        assert answer.status_code == 200, answer.text
        assert sorted(row["index"] for row in rows(answer.json())) == [0, 1, 2]

    @pytest.mark.parametrize("path", sorted(ROUTES))
    def test_every_path_does(self, strict, path) -> None:
        name = ROUTES[path].dialect
        answer = strict.http.post(path, json=BODIES.get(name, BODIES["native"])).json()
        assert len(rows(answer)) == (1 if name == "native" else 3)

    def test_voyages_list_is_as_long_as_the_others(self, strict) -> None:
        answer = strict.http.post("/v1/rerank", json=BODIES["native"]).json()
        assert len(answer["data"]) == len(answer["results"]) == 3

    def test_the_native_api_may_ask_for_another(self, strict) -> None:
        def count(**options: object) -> int:
            answer = strict.http.post("/finerank/v1/rerank", json={**BODIES["native"], **options})
            return len(answer.json()["results"])

        assert [count(), count(threshold=None), count(threshold=0), count(threshold=0.6)] == [1, 1, 3, 2]
        wrong = strict.http.post("/finerank/v1/rerank", json={**BODIES["native"], "threshold": 7})
        assert wrong.json()["error"]["message"] == "threshold is 7; it must be at most 1.0"

    def test_a_stream_keeps_the_documents_own_indexes(self, strict) -> None:
        headers = {"accept": "text/event-stream"}
        lines = strict.http.post("/finerank/v1/rerank", json=BODIES["native"], headers=headers).text.splitlines()
        told = [json.loads(line[6:]) for line in lines if line.startswith("data: ")]
        scored = {row["index"] for event in told[:-1] for row in event["scores"]}
        assert (scored, [row["index"] for row in told[-1]["results"]]) == ({0, 1, 2}, [1])


class TestScoreIndexes:
    def test_pairs_are_numbered_through(self, strict) -> None:
        body = {"text_1": ["dry", QUERY, "nothing"], "text_2": TEXTS}
        data = strict.http.post("/score", json=body).json()["data"]
        assert [row["index"] for row in data] == [0, 1, 2]
        assert data[1]["score"] > 0.7 > data[2]["score"]

    def test_a_gap_stays_a_gap(self) -> None:
        """Nothing is left out today; if anything ever is, an index must still be the text's own."""
        from finerank.ranking import Document, RankedDocument, Ranking
        from finerank.serving.dialects import vllm_score
        from finerank.serving.request import Answer, RerankRequest

        def answer(*indexes: int) -> Answer:
            results = tuple(RankedDocument(Document("a"), 0.5, 0.0, index, 1) for index in indexes)
            return Answer(RerankRequest("q", (Document("a"),) * 3), Ranking(results, "m"))

        data = vllm_score.render([answer(2, 1), answer(0)], "id")["data"]
        assert [row["index"] for row in data] == [1, 2, 3]


class TestOldPaths:
    @pytest.mark.parametrize("name", ["info", "stats", "examples", "health/ranking"])
    def test_they_answer_and_name_the_new_one(self, server, name) -> None:
        old, new = server.http.get(f"/api/{name}"), server.http.get(f"/finerank/v1/{name}")
        assert (old.status_code, set(old.json())) == (200, set(new.json()))
        assert old.headers["link"] == f'</finerank/v1/{name}>; rel="successor-version"'
        assert "link" not in new.headers

    @pytest.mark.parametrize(
        ("name", "body"),
        [
            ("explain", {"query": QUERY, "documents": TEXTS[:1]}),
            ("overlap", {"query": QUERY, "documents": TEXTS}),
            ("health/ranking/baseline", {}),
        ],
    )
    def test_so_do_those_that_are_posted_to(self, server, name, body) -> None:
        old, new = (server.http.post(f"{prefix}/{name}/", json=body) for prefix in ("/api", "/finerank/v1"))
        assert (old.status_code, old.text) == (new.status_code, new.text)
        assert old.status_code != 404

    def test_the_native_answer_is_still_there(self, server) -> None:
        for options in ({}, {"return_documents": False}, {"tag": "faq"}, {"model": "stub", "return_documents": True}):
            body = {**BODIES["native"], **options}
            old, new = (server.http.post(path, json=body) for path in ("/api/rerank", "/finerank/v1/rerank"))
            assert old.json()["results"] == new.json()["results"]

    def test_an_older_remote_reranker_is_told_of_a_missing_model(self, server) -> None:
        body = {**BODIES["native"], "return_documents": False, "model": "gpt"}
        answer = server.http.post("/api/rerank", json=body)
        assert (answer.status_code, answer.json()["error"]["kind"]) == (404, "not_found")

    def test_a_stream_with_a_model(self, server) -> None:
        body = {**BODIES["native"], "model": "stub"}
        answer = server.http.post("/api/rerank", json=body, headers={"accept": "text/event-stream"})
        assert answer.headers["content-type"].startswith("text/event-stream")
        assert "event: result" in answer.text


class TestOllama:
    @pytest.mark.parametrize("path", ["/api/rerank", "/api/rerank/", "//api/rerank", "/ollama/api/rerank"])
    def test_as_difys_provider_asks(self, server, path) -> None:
        """It sends its own model's name, and takes `document` for the text."""
        body = {"model": "qllama/bge-reranker-v2-m3:latest", "query": QUERY, "documents": TEXTS, "top_n": 2}
        answer = server.http.post(server.url + path, json=body)
        assert answer.status_code == 200
        results = answer.json()["results"]
        assert [(row["index"], row["document"]) for row in results] == [(1, TEXTS[1]), (2, TEXTS[2])]
        assert [row["relevance_score"] for row in results] == [row["score"] for row in results]

    def test_objects_come_back_as_objects(self, server) -> None:
        documents = [TEXTS[0], {"text": TEXTS[1], "id": 7, "metadata": {"page": 3}}]
        results = server.http.post("/api/rerank", json={"model": "m", "query": QUERY, "documents": documents}).json()
        first, second = results["results"]
        assert (first["document"], first["id"]) == ({"text": TEXTS[1], "metadata": {"page": 3}}, 7)
        assert second["document"] == TEXTS[0]

    def test_an_error_is_a_string(self, server) -> None:
        answer = server.http.post("/api/rerank", json={"model": "m", "query": 3, "documents": TEXTS})
        assert (answer.status_code, answer.json()) == (400, {"error": "query is 3; it must be a string"})


class TestNvidiaAndMixedbread:
    @pytest.mark.parametrize("path", ["/v1/ranking", "/v1/retrieval/nvidia/llama-3_2-nv/reranking", "/rerank"])
    def test_nvidia(self, server, path) -> None:
        answer = server.http.post(path, json={**BODIES["nvidia"], "truncate": "END"}).json()
        assert [row["index"] for row in answer["rankings"]] == [1, 2, 0]
        assert [set(row) for row in answer["rankings"]] == [{"index", "logit"}] * 3
        assert answer["rankings"][0]["logit"] == pytest.approx(1, abs=0.01)
        assert answer["usage"]["total_tokens"] > 0

    def test_nvidia_refuses_to_cut_on_request(self, server) -> None:
        body = {"query": {"text": QUERY}, "passages": [*OBJECTS, {"text": "word " * 1000}]}
        assert server.http.post("/v1/ranking", json=body).status_code == 200
        answer = server.http.post("/v1/ranking", json={**body, "truncate": "NONE"})
        assert answer.status_code == 400
        assert answer.json()["detail"].startswith("documents[3]")
        assert server.http.post("/v1/ranking", json={**body, "passages": [{"image": "x"}]}).json() == {
            "detail": "passages[0].text is missing; only text is ranked"
        }

    @pytest.mark.parametrize("path", ["/v1/reranking", "/v1/rerank", "/reranking", "/mixedbread/v1/reranking"])
    def test_mixedbread(self, server, path) -> None:
        answer = server.http.post(path, json=BODIES["mixedbread"]).json()
        assert [row["index"] for row in answer["data"]] == [1, 2, 0]
        assert (answer["object"], answer["top_k"], answer["return_input"]) == ("list", 3, False)
        body = {**BODIES["mixedbread"], "input": [{"t": text} for text in TEXTS]}
        answer = server.http.post(path, json={**body, "rank_fields": ["t"], "top_k": 1, "return_input": True}).json()
        assert [row["input"] for row in answer["data"]] == [{"t": TEXTS[1]}]
        assert 0 < answer["data"][0]["score"] < 1

    def test_mixedbread_names_what_is_wrong(self, server) -> None:
        body = {**BODIES["mixedbread"], "rewrite_query": True}
        assert "rewrite_query is true" in server.http.post("/v1/reranking", json=body).json()["detail"]
        body = {"query": QUERY, "input": [{"title": "x"}]}
        assert server.http.post("/v1/reranking", json=body).json()["detail"].startswith("input[0].text is missing")


@pytest.mark.parametrize("path", ["/v1/rerank", "/rerank", "/v2/rerank"])
@pytest.mark.parametrize(
    "options", [{}, {"top_k": 2}, {"top_n": 2}, {"return_documents": False}, {"rank_fields": None}]
)
def test_a_shared_path_has_what_each_parser_reads(server, path, options) -> None:
    answer = server.http.post(path, json={**BODIES["native"], **options}).json()
    count = 2 if {"top_k", "top_n"} & set(options) else 3
    for rows in (answer["results"], answer["data"]):
        assert [row["index"] for row in rows] == [1, 2, 0][:count]
        assert all(0 < row["relevance_score"] < 1 for row in rows)
    assert ("document" in answer["results"][0]) == ("return_documents" not in options)
    assert (answer["object"], answer["model"]) == ("rerank", "OverlapBackend")
    assert answer["usage"]["total_tokens"] == answer["meta"]["tokens"]["input_tokens"] > 0
    assert answer["meta"]["api_version"]["version"] == ("2" if path == "/v2/rerank" else "1")


class TestTruncation:
    @pytest.mark.parametrize("path", ["/v1/rerank", "/v2/rerank", "/rerank", "/vllm/rerank", "/score"])
    def test_as_vllm_means_it(self, server, path) -> None:
        long = ["word " * 1000]
        body = {"text_1": "q", "text_2": long} if path == "/score" else {"query": "q", "documents": long}

        def tokens(count: int | None) -> int:
            answer = server.http.post(path, json={**body, "truncate_prompt_tokens": count})
            assert answer.status_code == 200, answer.text
            return answer.json()["usage"]["total_tokens"]

        assert [tokens(None), tokens(-1), tokens(512), tokens(64)] == [512, 512, 512, 64]
        for wrong, reason in [(513, "more than the 512 tokens"), (0, "nothing to score"), (-2, "at least -1")]:
            answer = server.http.post(path, json={**body, "truncate_prompt_tokens": wrong})
            assert answer.status_code == 400
            message = answer.json()["error"]["message"]
            assert message.startswith(f"truncate_prompt_tokens is {wrong}")
            assert reason in message

    def test_one_too_small_for_a_pair_is_named(self, server) -> None:
        answer = server.http.post("/v1/rerank", json={**BODIES["native"], "truncate_prompt_tokens": 1})
        assert answer.status_code == 400
        assert answer.json()["detail"].startswith("truncate_prompt_tokens is 1, which leaves no room")

    def test_it_cuts_even_where_the_server_chunks(self, start_server) -> None:
        server = start_server(lambda name: stub_reranker(long_documents="chunk"))
        body = {"query": "q", "documents": ["word " * 2000]}
        whole = server.http.post("/v1/rerank", json=body).json()["usage"]["total_tokens"]
        cut = server.http.post("/v1/rerank", json={**body, "truncate_prompt_tokens": 100}).json()["usage"][
            "total_tokens"
        ]
        assert (whole > 2000, cut) == (True, 100)

    def test_a_side_that_is_not_cut_is_refused_on_a_shared_path(self, server) -> None:
        answer = server.http.post("/v1/rerank", json={**BODIES["native"], "truncation_side": "left"})
        assert answer.json()["detail"].startswith("truncation_side is left")


class TestKeys:
    @pytest.mark.parametrize("name", ["Authorization", "X-API-Key", "api-key", "Api-Key", "API-KEY"])
    @pytest.mark.parametrize("path", ["/v1/rerank", "/finerank/v1/rerank"])
    def test_a_key_in_any_header_of_the_originals(self, guarded, path, name) -> None:
        assert guarded.http.post(path, json=BODIES["native"], headers={name: "sesame"}).status_code == 200
        assert guarded.http.post(path, json=BODIES["native"], headers={name: "sesam"}).status_code == 401

    def test_an_empty_authorization_is_no_key(self, guarded) -> None:
        """Dify's OpenAI-compatible provider sends one where it has no key; a key beside it counts."""
        headers = {"Authorization": "", "api-key": "sesame"}
        assert guarded.http.post("/v1/rerank", json=BODIES["native"], headers=headers).status_code == 200
