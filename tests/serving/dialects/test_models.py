from finerank.serving.dialects.models import (
    GET_ROUTES,
    MODEL_ROUTES,
    infinity_list,
    model_entry,
    model_list,
    tei_info,
    xinference_auth,
)
from finerank.serving.request import ModelInfo

MODEL = ModelInfo(
    "bge-reranker-v2-m3",
    device="Some CPU",
    precision="fp16",
    max_length=1024,
    max_documents=2000,
    max_batch_tokens=4096,
    version="0.1.0",
    created=1732000000,
)


def test_tei_info_says_what_dify_reads():
    info = tei_info([MODEL])
    assert list(info["model_type"]) == ["reranker"]
    assert (info["max_input_length"], info["max_client_batch_size"]) == (1024, 2000)
    assert (info["model_id"], info["model_dtype"], info["version"]) == ("bge-reranker-v2-m3", "float16", "0.1.0")


def test_models_are_listed_as_openai_does():
    listed = model_list([MODEL, ModelInfo("mini")])
    assert listed["object"] == "list"
    assert [model["id"] for model in listed["data"]] == ["bge-reranker-v2-m3", "mini"]
    entry = listed["data"][0]
    assert (entry["object"], entry["created"], entry["max_model_len"]) == ("model", 1732000000, 1024)
    assert (entry["model_type"], entry["capabilities"]) == ("rerank", ["rerank"])
    assert entry["stats"]["batch_size"] == 2000


def test_infinitys_client_takes_no_other_owner():
    assert [model["owned_by"] for model in infinity_list([MODEL])["data"]] == ["infinity"]


def test_a_model_is_told_of_by_its_name_and_the_first_by_any_other():
    mini = ModelInfo("BAAI/mini")
    assert model_entry([MODEL, mini], "BAAI/mini")["id"] == "BAAI/mini"
    assert model_entry([MODEL, mini], "rerank-v3.5")["id"] == MODEL.name


def test_a_precision_that_others_do_not_name_keeps_its_name():
    assert tei_info([ModelInfo("mini", precision="int8")])["model_dtype"] == "int8"


def test_xinferences_client_learns_whether_to_send_its_key():
    assert [xinference_auth(needs_key) for needs_key in (True, False)] == [{"auth": True}, {"auth": False}]


def test_every_path_answers():
    assert all(answer([MODEL]) and summary for answer, summary in GET_ROUTES.values())
    assert all(answer([MODEL], "mini") and summary for answer, summary in MODEL_ROUTES.values())
