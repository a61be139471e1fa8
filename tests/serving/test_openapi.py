import pytest

from finerank.serving.dialects import DIALECTS, ROUTES
from finerank.serving.openapi import openapi


def test_the_document_describes_every_path_that_ranks() -> None:
    assert set(ROUTES) < set(openapi()["paths"])


@pytest.mark.parametrize("path", ROUTES)
def test_every_example_is_answered_as_described(server, path) -> None:
    operation = openapi()["paths"][path]["post"]
    for name, example in operation["requestBody"]["content"]["application/json"]["examples"].items():
        answer = server.http.post(path, json=example["value"])
        assert answer.status_code == 200, (name, answer.text)
        dialect = server.http.post(path, json=example["value"], headers={"x-finerank-dialect": name})
        DIALECTS[name].RESPONSE.model_validate(dialect.json())


def test_references_lead_somewhere() -> None:
    document = openapi()
    names = set(document["components"]["schemas"])

    def visit(value: object) -> None:
        if isinstance(value, dict):
            if isinstance(value.get("$ref"), str):
                assert value["$ref"].rpartition("/")[2] in names
            for part in value.values():
                visit(part)
        elif isinstance(value, list):
            for part in value:
                visit(part)

    visit(document)
