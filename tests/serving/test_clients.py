"""The clients people have, unchanged but for a base URL, against a running server."""

import json
import threading
import time
from urllib.request import Request, urlopen

import httpx
import pytest

from finerank.serving.server import Server
from finerank.settings import ServeSettings
from finerank.testing import stub_reranker

KEY = "a-key-for-tests"
QUERY = "reset button"
TEXTS = ["Keep it dry.", "Hold the reset button.", "Press reset."]
BEST_FIRST = [1, 2, 0]


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    """The base URL of a server that asks for `KEY`; its scores are shares of the query's words."""
    settings = ServeSettings(port=0, state_dir=str(tmp_path_factory.mktemp("state")), api_keys=(KEY,))
    server = Server("bge-reranker-v2-m3", lambda name: stub_reranker(), settings)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    deadline = time.monotonic() + 20
    while httpx.get(f"{server.url}/health").status_code != 200:
        assert time.monotonic() < deadline, "the server did not get ready"
        time.sleep(0.02)
    yield server.url
    server.stop()
    thread.join(20)
    assert not thread.is_alive()


@pytest.fixture
def post(url):
    """`post(path, body)`: the answer's JSON, with the key as most clients send it."""

    def send(path, body, **headers):
        answer = httpx.post(url + path, json=body, headers={"Authorization": f"Bearer {KEY}", **headers})
        assert answer.status_code == 200, answer.text
        return answer.json()

    return send


class TestCohere:
    def test_the_v2_client(self, url):
        import cohere

        with cohere.ClientV2(KEY, base_url=url) as client:
            answer = client.rerank(model="rerank-v3.5", query=QUERY, documents=TEXTS, top_n=2)
        assert [result.index for result in answer.results] == BEST_FIRST[:2]
        assert 1 >= answer.results[0].relevance_score > answer.results[1].relevance_score >= 0
        assert answer.meta.billed_units.search_units == 1
        assert answer.meta.api_version.version == "2"

    def test_the_v1_client(self, url):
        import cohere

        documents = [{"title": "Care", "text": TEXTS[0]}, {"title": "Reset", "text": TEXTS[1]}]
        fields = ["title", "text"]
        with cohere.Client(KEY, base_url=url) as client:
            answer = client.rerank(query=QUERY, documents=documents, rank_fields=fields, return_documents=True)
        assert [result.index for result in answer.results] == [1, 0]
        assert answer.results[0].document.text == TEXTS[1]
        assert answer.results[0].document.title == "Reset"

    def test_the_v1_client_without_options(self, url):
        import cohere

        with cohere.Client(KEY, base_url=url) as client:
            answer = client.rerank(query=QUERY, documents=TEXTS)
        assert [result.index for result in answer.results] == BEST_FIRST

    @pytest.mark.parametrize("prefix", ["", "/cohere", "/", "//", "/cohere/"])
    def test_the_async_client(self, url, prefix):
        import asyncio

        import cohere

        async def rank():
            async with cohere.AsyncClientV2(KEY, base_url=url + prefix) as client:
                return await client.rerank(model="rerank-v3.5", query=QUERY, documents=TEXTS)

        assert [result.index for result in asyncio.run(rank()).results] == BEST_FIRST

    @pytest.mark.parametrize("version", ["Client", "ClientV2"])
    def test_failures_are_the_sdks_own(self, url, version):
        import cohere

        connect = getattr(cohere, version)
        with connect("wrong", base_url=url) as client, pytest.raises(cohere.UnauthorizedError, match="key"):
            client.rerank(model="m", query=QUERY, documents=TEXTS)
        with connect(KEY, base_url=url) as client, pytest.raises(cohere.BadRequestError) as raised:
            client.rerank(model="m", query=QUERY, documents=TEXTS, top_n=-1)
        assert raised.value.body["message"].startswith("top_n is -1; it must be at least ")

    def test_langchain(self, url):
        from langchain_cohere import CohereRerank
        from langchain_core.documents import Document

        compressor = CohereRerank(cohere_api_key=KEY, base_url=url, model="rerank-v3.5", top_n=2)
        documents = [Document(text, metadata={"page": page}) for page, text in enumerate(TEXTS)]
        with compressor.client:
            ranked = compressor.compress_documents(documents, QUERY)
        assert [document.metadata["page"] for document in ranked] == BEST_FIRST[:2]
        assert ranked[0].metadata["relevance_score"] > ranked[1].metadata["relevance_score"]


class TestVoyage:
    @pytest.mark.parametrize("base", ["/v1", "/voyage/v1", "", "/v1/", "//v1", "/"])
    @pytest.mark.parametrize("top_k", [None, 2])
    def test_the_client(self, url, base, top_k):
        import voyageai

        client = voyageai.Client(api_key=KEY, base_url=url + base)
        answer = client.rerank(QUERY, TEXTS, model="rerank-2.5", top_k=top_k)
        assert [result.index for result in answer.results] == BEST_FIRST[:top_k]
        assert [result.document for result in answer.results] == [TEXTS[index] for index in BEST_FIRST[:top_k]]
        assert answer.total_tokens > 0

    def test_failures_are_the_sdks_own(self, url):
        import voyageai

        with pytest.raises(voyageai.error.AuthenticationError, match="key"):
            voyageai.Client(api_key="wrong", base_url=f"{url}/v1").rerank(QUERY, TEXTS, model="m")
        client = voyageai.Client(api_key=KEY, base_url=f"{url}/v1")
        with pytest.raises(voyageai.error.InvalidRequestError, match="top_k is 0"):
            client.rerank(QUERY, TEXTS, model="m", top_k=0)

    @pytest.mark.parametrize("options", [{}, {"return_documents": True}, {"top_k": 2}, {"return_documents": False}])
    def test_as_the_clients_of_other_languages_ask(self, post, options):
        """The JavaScript SDK sends no option that it was not given, LiteLLM only return_documents; both read data."""
        answer = post("/v1/rerank", {"model": "rerank-2.5", "query": QUERY, "documents": TEXTS, **options})
        best = BEST_FIRST[: options.get("top_k")]
        assert [row["index"] for row in answer["data"]] == best
        documents = [TEXTS[index] for index in best] if options.get("return_documents") else [None] * len(best)
        assert [row.get("document") for row in answer["data"]] == documents
        assert answer["usage"]["total_tokens"] > 0

    def test_a_text_that_would_be_cut_is_refused_without_truncation(self, url):
        import voyageai

        client = voyageai.Client(api_key=KEY, base_url=f"{url}/v1")
        long = ["a", "word " * 1000]
        assert len(client.rerank(QUERY, long, model="m").results) == 2
        with pytest.raises(voyageai.error.InvalidRequestError, match=r"documents\[1\]"):
            client.rerank(QUERY, long, model="m", truncation=False)


@pytest.mark.filterwarnings("ignore:`langchain-community` is being sunset:DeprecationWarning")
class TestJina:
    @pytest.fixture
    def compressor(self, url, monkeypatch):
        from langchain_community.document_compressors import jina_rerank

        monkeypatch.setattr(jina_rerank, "JINA_API_URL", f"{url}/v1/rerank")
        return jina_rerank.JinaRerank

    @pytest.mark.parametrize("top_n", [2, None])
    def test_langchain(self, compressor, top_n):
        from langchain_core.documents import Document

        documents = [Document(text, metadata={"page": page}) for page, text in enumerate(TEXTS)]
        ranked = compressor(jina_api_key=KEY, top_n=top_n).compress_documents(documents, QUERY)
        assert [document.metadata["page"] for document in ranked] == BEST_FIRST[:top_n]
        assert ranked[0].metadata["relevance_score"] > ranked[1].metadata["relevance_score"]

    def test_langchain_is_told_what_went_wrong(self, compressor):
        with pytest.raises(RuntimeError, match="key"):
            compressor(jina_api_key="wrong").rerank(TEXTS, QUERY)

    def test_documents_come_back_unless_they_are_not_wanted(self, post):
        results = post("/jina/v1/rerank", {"query": QUERY, "documents": TEXTS})["results"]
        assert [result["document"]["text"] for result in results] == [TEXTS[index] for index in BEST_FIRST]
        results = post("/v1/rerank", {"query": QUERY, "documents": TEXTS, "return_documents": False})["results"]
        assert [set(result) for result in results] == [{"index", "relevance_score"}] * 3


class TestTei:
    def test_as_llamaindexs_postprocessor_asks(self, url):
        """Its token has no Bearer, and it insists on one result a node."""
        body = {"query": QUERY, "raw_scores": False, "return_text": False, "texts": TEXTS, "truncate": True}
        headers = {"Content-Type": "application/json", "Authorization": KEY}
        scores = httpx.post(f"{url}/rerank", json=body, headers=headers).json()
        assert len(scores) == len(TEXTS)
        by_index = {score["index"]: score["score"] for score in scores}
        assert by_index[1] > by_index[2] > by_index[0]

    def test_as_haystacks_ranker_asks(self, url):
        """It joins /rerank to the host, whatever path the URL had."""
        body = {"query": QUERY, "texts": TEXTS, "raw_scores": True, "truncate": True, "truncation_direction": "Right"}
        request = Request(
            str(httpx.URL(f"{url}/tei").join("/rerank")),
            json.dumps(body).encode(),
            {"Authorization": f"Bearer {KEY}", "Content-Type": "application/json"},
        )
        with urlopen(request) as answer:
            ranked = json.load(answer)
        assert [rank["index"] for rank in ranked] == BEST_FIRST
        assert ranked[0]["score"] == pytest.approx(1, abs=0.01)

    def test_left_truncation_is_refused_as_tei_refuses(self, url):
        body = {"query": QUERY, "texts": TEXTS, "truncation_direction": "Left"}
        answer = httpx.post(f"{url}/rerank", json=body, headers={"Authorization": KEY})
        assert (answer.status_code, answer.json()["error_type"]) == (422, "Validation")
        assert "truncation_direction" in answer.json()["error"]

    def test_no_texts_are_refused_as_tei_refuses(self, url):
        answer = httpx.post(f"{url}/rerank", json={"query": QUERY, "texts": []}, headers={"Authorization": KEY})
        assert (answer.status_code, answer.json()["error_type"]) == (400, "Empty")

    @pytest.mark.parametrize("base", ["", "/tei"])
    def test_as_difys_plugin_asks(self, url, base):
        headers = {"Authorization": f"Bearer {KEY}"}
        info = httpx.get(f"{url}{base}/info", headers=headers).json()
        assert next(iter(info["model_type"])) == "reranker"
        assert info["max_input_length"] == 512
        assert info["max_client_batch_size"] >= 100
        body = {"query": QUERY, "texts": TEXTS, "return_text": True}
        ranked = httpx.post(f"{url}{base}/rerank", json=body, headers=headers).json()
        assert [rank["text"] for rank in ranked] == [TEXTS[index] for index in BEST_FIRST]


def test_as_ragflows_nvidia_client_asks(post):
    body = {"model": "m", "query": {"text": QUERY}, "passages": [{"text": text} for text in TEXTS]}
    answer = post("/v1/ranking", {**body, "truncate": "END", "top_n": len(TEXTS)})
    assert [rank["index"] for rank in answer["rankings"]] == BEST_FIRST
    assert answer["rankings"][0]["logit"] == pytest.approx(1, abs=0.01)


def test_as_difys_multimodal_plugin_asks(post):
    """Its documents have `content` and no `text`."""
    documents = [{"content": [{"type": "text", "text": text}]} for text in TEXTS]
    answer = post("/v1/rerank", {"model": "bge", "query": QUERY, "documents": documents, "top_n": 0})
    assert [result["index"] for result in answer["results"]] == BEST_FIRST
    assert answer["results"][0]["document"] == {"text": TEXTS[1]}


def test_as_difys_openai_compatible_plugin_asks(post):
    """It posts to {endpoint}/rerank and reads each document's text."""
    body = {"model": "bge", "query": QUERY, "documents": TEXTS, "top_n": 2, "return_documents": True}
    for endpoint in ("/v1", ""):
        results = post(f"{endpoint}/rerank", body)["results"]
        assert [result["document"]["text"] for result in results] == [TEXTS[1], TEXTS[2]]


def test_as_open_webui_asks(post):
    """top_n is the number of documents; it puts the results back into the order given by their index."""
    body = {"model": "reranker", "query": QUERY, "documents": TEXTS, "top_n": len(TEXTS)}
    results = sorted(post("/v1/rerank", body)["results"], key=lambda result: result["index"])
    assert len(results) == len(TEXTS)
    scores = [result["relevance_score"] for result in results]
    assert scores[1] > scores[2] > scores[0]


def test_as_infinitys_client_asks(post):
    body = {"query": QUERY, "documents": TEXTS, "model": "default/not-specified", "return_documents": True, "top_n": 1}
    answer = post("/infinity/rerank", body)
    assert (answer["object"], answer["results"][0]["document"]) == ("rerank", TEXTS[1])
    assert post("/rerank", body)["results"][0]["document"] == {"text": TEXTS[1]}
    forced = post("/rerank", body, **{"X-Finerank-Dialect": "infinity"})
    assert forced["results"] == answer["results"]


@pytest.mark.parametrize("path", ["/rerank", "/v1/rerank", "/v2/rerank", "/vllm/rerank"])
def test_as_vllms_clients_ask(post, path):
    body = {"model": "bge", "query": QUERY, "documents": TEXTS, "top_n": 0, "truncate_prompt_tokens": -1}
    answer = post(path, body)
    assert [result["index"] for result in answer["results"]] == BEST_FIRST
    assert answer["results"][0]["document"] == {"text": TEXTS[1]}
    assert answer["usage"]["total_tokens"] > 0
    assert answer["model"]


def test_vllms_score_api(post):
    answer = post("/score", {"text_1": QUERY, "text_2": TEXTS})
    scores = [row["score"] for row in answer["data"]]
    assert [row["index"] for row in answer["data"]] == [0, 1, 2]
    assert scores[1] > scores[2] > scores[0]
    pairs = post("/v1/score", {"queries": [QUERY, "dry"], "documents": [TEXTS[1], TEXTS[0]], "use_activation": False})
    assert [row["score"] for row in pairs["data"]] == pytest.approx([1, 1], abs=0.01)


def test_as_llamacpps_clients_ask(post):
    answer = post("/v1/reranking", {"query": QUERY, "documents": TEXTS, "top_n": 1})
    assert answer["results"][0]["index"] == 1
    assert answer["results"][0]["relevance_score"] == pytest.approx(1, abs=0.01), "a logit, not its sigmoid"
    assert post("/reranking", {"query": QUERY, "texts": TEXTS, "top_n": 1})[0]["index"] == 1


def test_as_xinferences_client_asks(post):
    body = {"model": "bge", "query": QUERY, "documents": TEXTS, "top_n": None, "max_chunks_per_doc": None}
    body |= {"return_documents": True, "return_len": None, "kwargs": "{}"}
    for path in ("/v1/rerank", "/xinference/v1/rerank"):
        results = post(path, body)["results"]
        assert [result["document"]["text"] for result in results] == [TEXTS[index] for index in BEST_FIRST]


@pytest.mark.parametrize("path", ["/v1/models", "/models"])
def test_models_are_listed(url, path):
    (model,) = httpx.get(url + path, headers={"Authorization": f"Bearer {KEY}"}).json()["data"]
    assert (model["object"], model["model_type"], model["max_model_len"]) == ("model", "rerank", 512)


def test_an_unknown_dialect_is_refused_with_those_there_are(url):
    headers = {"Authorization": KEY, "X-Finerank-Dialect": "klingon"}
    answer = httpx.post(f"{url}/rerank", json={"query": QUERY, "documents": TEXTS}, headers=headers)
    assert answer.status_code == 400
    assert "cohere" in answer.json()["detail"]


def test_every_example_of_the_description_is_answered(url):
    described = httpx.get(f"{url}/openapi.json").json()["paths"]
    checked = 0
    for path, operations in described.items():
        content = operations.get("post", {}).get("requestBody", {}).get("content", {}).get("application/json", {})
        for example in content.get("examples", {}).values():
            answer = httpx.post(url + path, json=example["value"], headers={"Authorization": f"Bearer {KEY}"})
            assert answer.status_code == 200, (path, answer.text)
            checked += 1
    assert checked > 20
