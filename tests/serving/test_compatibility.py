"""What clients of other servers rely on: every score, any slash, any key header, compressed bodies, public names."""

import gzip
import json
import re
import zlib
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from finerank.reranker import Reranker
from finerank.serving.decompress import PIECE_BYTES, Decompressor
from finerank.serving.dialects import DIALECTS, ROUTES
from finerank.serving.paths import nearest_path
from finerank.testing import OverlapBackend, stub_reranker

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


class TestPaths:
    @pytest.mark.parametrize("path", ["/v1/rerank", "/rerank", "/v2/rerank", "/score", "/jina/v1/rerank"])
    @pytest.mark.parametrize("form", ["{}/", "/{}", "{}//", "//{}/", "{}///"])
    def test_slashes_do_not_matter_to_a_post(self, server, path, form) -> None:
        body = BODIES["vllm_score" if path == "/score" else "native"]
        answer = server.http.post(server.url + form.format(path), json=body)
        assert (answer.status_code, answer.history) == (200, [])
        assert len(rows(answer.json())) == 3

    @pytest.mark.parametrize(
        "path",
        [
            *(
                "/info/",
                "//info",
                "/v1//models/",
                "/models/",
                "/health/",
                "//health//ready",
                "/metrics/",
                "/docs/",
                "//",
            ),
            *("/openapi.json/", "//css/theme.css", "/v1/models/any/", "/finerank//v1/info", "/js//main.js"),
        ],
    )
    def test_nor_to_a_get(self, server, path) -> None:
        expected = server.http.get(server.url + (re.sub("/+", "/", path).rstrip("/") or "/"))
        answer = server.http.get(server.url + path)
        assert (answer.status_code, answer.text[:40]) == (expected.status_code, expected.text[:40])
        assert not answer.is_redirect

    def test_nothing_redirects(self, server) -> None:
        for path in ("/v1/nothing/", "/docs/nothing/", "/css/", "/v1/rerank/"):
            answer = server.http.get(server.url + path)
            assert answer.status_code in (404, 405)
            assert "location" not in answer.headers

    @pytest.mark.parametrize(
        ("path", "near"),
        [
            ("/v1/v1/rerank", "/v1/rerank"),
            ("/v1/v2/rerank", "/v2/rerank"),
            ("/v1/rerank/rerank", "/v1/rerank"),
            ("/v1/reranks", "/v1/rerank"),
            ("/api/v1/rerank", "/v1/rerank"),
            ("/V1/Rerank", "/v1/rerank"),
            ("/v1/scores", "/v1/score"),
            ("/finerank/rerank", "/finerank/v1/rerank"),
        ],
    )
    def test_a_404_names_the_nearest_path(self, server, path, near) -> None:
        answer = server.http.post(path, json=BODIES["native"])
        assert answer.status_code == 404
        body = answer.json()
        assert body["detail"] == body["message"] == body["error"]["message"]
        assert f"POST {path}: Not Found; did you mean {near}?" in body["detail"]

    def test_a_404_without_a_near_path_points_to_the_list(self, server) -> None:
        message = server.http.get("/q").json()["detail"]
        assert "did you mean" not in message
        assert "/docs" in message

    def test_a_wrong_method_is_told_the_right_one(self, server) -> None:
        answer = server.http.get(server.url + "//v1/rerank/")
        assert (answer.status_code, answer.headers["allow"]) == (405, "POST")
        assert "it takes POST" in answer.json()["message"]
        assert answer.json()["message"].startswith("GET //v1/rerank/: ")

    def test_every_path_is_its_own_nearest(self, server) -> None:
        routes = server.application.asgi.routes
        assert all(nearest_path(path, "POST", routes) == path for path in ROUTES if "{" not in path)


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


def raw_deflate(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return packer.compress(data) + packer.flush()


def in_members(data: bytes) -> bytes:
    return gzip.compress(data[:9]) + gzip.compress(data[9:])


class TestCompression:
    @pytest.mark.parametrize(
        ("encoding", "pack"),
        [
            ("gzip", gzip.compress),
            ("GZIP", gzip.compress),
            ("x-gzip", gzip.compress),
            ("gzip, identity", gzip.compress),
            ("gzip", in_members),
            ("deflate", zlib.compress),
            ("deflate", raw_deflate),
            ("identity", bytes),
            ("", bytes),
        ],
    )
    @pytest.mark.parametrize("path", ["/v1/rerank", "/finerank/v1/rerank", "/finerank/v1/overlap"])
    def test_it_is_undone(self, server, path, encoding: str, pack: Callable[[bytes], bytes]) -> None:
        content = pack(json.dumps(BODIES["native"]).encode())
        answer = server.http.post(path, content=content, headers={"content-encoding": encoding})
        assert answer.status_code == 200, answer.text

    @pytest.mark.parametrize("encoding", ["br", "zstd", "compress", "gzip, gzip", "gzip, br"])
    def test_what_is_not_read_is_named_with_what_is(self, server, encoding) -> None:
        answer = server.http.post("/v1/rerank", content=b"x", headers={"content-encoding": encoding})
        assert answer.status_code == 400
        assert answer.json()["detail"] == (
            f"Content-Encoding: '{encoding}' is not read here; send the body as it is, or as gzip or deflate"
        )

    @pytest.mark.parametrize("encoding", ["gzip", "deflate"])
    @pytest.mark.parametrize("content", [b"", b"x", b"not packed at all", "short"])
    def test_what_is_damaged_is_refused(self, server, encoding, content) -> None:
        if content == "short":
            content = (gzip.compress if encoding == "gzip" else zlib.compress)(json.dumps(BODIES["native"]).encode())[
                :-3
            ]
        answer = server.http.post("/v1/rerank", content=content, headers={"content-encoding": encoding})
        assert answer.status_code == 400
        assert answer.json()["detail"].startswith(f"the body: not {encoding}, as Content-Encoding says: ")

    @pytest.mark.parametrize(("encoding", "pack"), [("gzip", gzip.compress), ("deflate", raw_deflate)])
    def test_a_bomb_is_refused_at_the_limit(self, start_server, encoding, pack) -> None:
        server = start_server(max_body_mb=1)
        bomb = pack(b"x" * 30_000_000)
        assert len(bomb) < 100_000
        answer = server.http.post("/v1/rerank", content=bomb, headers={"content-encoding": encoding})
        assert answer.status_code == 413
        assert "larger than 1000000 bytes" in answer.json()["detail"]

    def test_a_body_that_unpacks_to_nothing_ends_at_the_limit_too(self, start_server) -> None:
        server = start_server(max_body_mb=1)
        empty = gzip.compress(b"")

        def parts():
            for _ in range(100):
                yield empty * 1000

        answer = server.http.post("/v1/rerank", content=parts(), headers={"content-encoding": "gzip"})
        assert answer.status_code == 413

    @pytest.mark.parametrize("size", [1, 2, 3, 1000])
    @pytest.mark.parametrize(("encoding", "pack"), [("gzip", in_members), ("deflate", raw_deflate)])
    def test_the_parts_may_be_of_any_size(self, encoding, pack, size) -> None:
        data = bytes(range(256)) * 1000
        packed = pack(data)
        undo = Decompressor(encoding)
        pieces = [piece for start in range(0, len(packed), size) for piece in undo.pieces(packed[start : start + size])]
        undo.finish()
        assert b"".join(pieces) == data
        assert max(map(len, pieces)) <= PIECE_BYTES


SECRET = "finerank-secret-folder"


def texts_of(server) -> list[str]:
    """Everything a caller can get to read."""
    http = server.http
    gets = ["/info", "/v1/models", "/models", "/v1/models/any", "/health", "/metrics", "/finerank/v1/info"]
    gets += ["/finerank/v1/health/ranking", "/finerank/v1/stats", "/openapi.json", "/tei/info"]
    answers: list[httpx.Response] = [http.get(path) for path in gets]
    answers += [http.post(path, json=BODIES.get(ROUTES[path].dialect, BODIES["native"])) for path in ROUTES]
    answers += [http.post("/finerank/v1/rerank", json={**BODIES["native"], "model": "gpt"})]
    answers += [http.post("/finerank/v1/rerank", json={**BODIES["native"], "model": "broken"})]
    answers += [http.get("/finerank/v1/info")]
    return [answer.text + str(dict(answer.headers)) for answer in answers]


class TestNames:
    def start(self, start_server, folder: Path, **settings: object):
        from finerank.errors import ModelError

        first = folder / SECRET / "bge-m3"
        broken = folder / SECRET / "broken"
        for path in (first, broken):
            path.mkdir(parents=True)

        def load(name: str) -> Reranker:
            if name == str(broken):
                raise ModelError(f"{name}: has no config.json; look into {Path(name).resolve()}/config.json")
            reranker = stub_reranker()
            reranker.model = name
            return reranker

        return start_server(load, model=str(first), more_models=(str(broken),), **settings)

    def test_a_local_model_is_called_by_its_folder(self, start_server, tmp_path) -> None:
        server = self.start(start_server, tmp_path)
        told = texts_of(server)
        assert [text for text in told if SECRET in text] == []
        assert server.http.post("/v1/rerank", json=BODIES["native"]).json()["model"] == "bge-m3"
        assert [model["id"] for model in server.http.get("/v1/models").json()["data"]] == ["bge-m3", "broken"]
        broken = server.http.post("/finerank/v1/rerank", json={**BODIES["native"], "model": "broken"})
        assert broken.status_code == 503
        message = broken.json()["error"]["message"]
        assert message == "model broken: broken: has no config.json; look into broken/config.json"

    def test_aliases(self, start_server, tmp_path) -> None:
        server = self.start(start_server, tmp_path, served_model_name=("rerank-large", "bge"))
        assert [text for text in texts_of(server) if SECRET in text or "bge-m3" in text] == []
        listed = [model["id"] for model in server.http.get("/v1/models").json()["data"]]
        assert listed == ["rerank-large", "bge", "broken"]
        assert server.http.get("/v1/models/bge").json()["id"] == "bge"
        info = server.http.get("/finerank/v1/info").json()["models"][0]
        assert (info["name"], info["aliases"]) == ("rerank-large", ["bge"])
        for name in ("rerank-large", "bge", str(tmp_path / SECRET / "bge-m3")):
            answer = server.http.post("/finerank/v1/rerank", json={**BODIES["native"], "model": name})
            assert (answer.status_code, answer.json()["model"]) == (200, "rerank-large")
        unknown = server.http.post("/finerank/v1/rerank", json={**BODIES["native"], "model": "gpt"})
        assert unknown.json()["error"]["message"].endswith("there are rerank-large, bge, broken")

    def test_a_failure_of_scoring_does_not_show_the_path(self, start_server, tmp_path) -> None:
        folder = tmp_path / SECRET / "m"
        folder.mkdir(parents=True)
        error = RuntimeError(f"cannot map {folder}/model.onnx")
        for fail_open in (False, True):
            server = start_server(
                lambda name: stub_reranker(OverlapBackend(error=error)), model=str(folder), fail_open=fail_open
            )
            answer = server.http.post("/finerank/v1/rerank", json=BODIES["native"])
            assert "cannot map m/model.onnx" in answer.text
            assert SECRET not in answer.text + str(dict(answer.headers))

    def test_two_models_of_one_name_are_refused(self, start_server, tmp_path) -> None:
        from finerank.errors import InvalidSetting

        for name in ("a", "b"):
            (tmp_path / name / "bge").mkdir(parents=True)
        models = {"model": str(tmp_path / "a/bge"), "more_models": (str(tmp_path / "b/bge"),)}
        with pytest.raises(InvalidSetting, match="served as 'bge'; give the first another served_model_name"):
            start_server(**models)
        assert start_server(**models, served_model_name=("first",)).http.get("/health").status_code == 200

    def test_a_hub_id_stays_as_it_is(self, start_server) -> None:
        server = start_server(model="BAAI/bge-reranker-v2-m3")
        assert server.http.get("/finerank/v1/info").json()["models"][0]["name"] == "BAAI/bge-reranker-v2-m3"
