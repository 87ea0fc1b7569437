"""The OpenAPI document, as a generator of clients reads it."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
from starlette.testclient import TestClient

from likewise.serving import problems
from likewise.serving.api import judgement_schemas, schemas

OPERATIONS = {
    "search",
    "search_by_words",
    "search_batch",
    "suggest",
    "count_facets",
    "list_columns",
    "read_comparison",
    "begin_comparison",
    "compare",
    "read_item",
    "find_similar",
    "read_recording",
    "read_thumbnail",
    "add_judgement",
    "list_judgements",
    "list_queries_to_judge",
    "remove_judgement",
    "measure_heat_map",
    "embed",
    "list_models",
    "check_live",
    "check_ready",
}


@pytest.fixture(scope="module")
def document(client: TestClient) -> dict[str, Any]:
    answer = client.get("/openapi.json")
    assert answer.status_code == 200
    return answer.json()


def operations(document: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield f"{method} {path}", operation


def references(part: Any) -> Iterator[str]:
    if isinstance(part, dict):
        for key, value in part.items():
            yield from [value] if key == "$ref" else references(value)
    elif isinstance(part, list):
        for value in part:
            yield from references(value)


def test_operations_have_names_that_methods_of_a_client_can_have(document: dict[str, Any]) -> None:
    names = [operation["operationId"] for _, operation in operations(document)]
    assert len(set(names)) == len(names)
    assert set(names) >= OPERATIONS
    assert all(re.fullmatch(r"[a-z]+(_[a-z]+)*", name) for name in names)


def test_what_the_document_refers_to_is_in_it(document: dict[str, Any]) -> None:
    named = set(references(document))
    assert "#/components/schemas/Problem" in named
    for name in named:
        assert name.removeprefix("#/components/schemas/") in document["components"]["schemas"]


def test_operations_are_summarized_and_tagged(document: dict[str, Any]) -> None:
    described = {tag["name"] for tag in document["tags"] if tag["description"]}
    for name, operation in operations(document):
        assert operation["summary"], name
        assert operation["tags"], name
        assert set(operation["tags"]) <= described, name


def test_every_failure_is_a_problem(document: dict[str, Any]) -> None:
    for name, operation in operations(document):
        failures = {status: said for status, said in operation["responses"].items() if status >= "400"}
        if "/v1/" in name:
            assert {"422", "429", "500", "503"} <= set(failures), name
        for status, said in failures.items():
            assert list(said["content"]) == ["application/problem+json"], (name, status)
            example = said["content"]["application/problem+json"]["example"]
            assert problems.Problem.model_validate(example).status == int(status)
            assert ("headers" in said) == (status in ("429", "503"))


def test_items_that_are_not_there_are_documented(document: dict[str, Any], client: TestClient) -> None:
    for name, operation in operations(document):
        assert "404" in operation["responses"] or "/v1/" not in name, name
    answer = client.get("/v1/items/nothing")
    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"


def test_bodies_have_examples_that_are_understood(document: dict[str, Any]) -> None:
    shown = 0
    for name, schema in document["components"]["schemas"].items():
        model = getattr(schemas, name, None) or getattr(judgement_schemas, name, None) or getattr(problems, name)
        for example in schema.get("examples", []):
            model.model_validate(example)
            shown += 1
    assert shown > 8
    for name, operation in operations(document):
        bodies = list(operation.get("requestBody", {}).get("content", {}).values())
        bodies += operation["responses"].get("200", {}).get("content", {}).values()
        for body in bodies:
            reference = body.get("schema", {}).get("$ref", "").rpartition("/")[2]
            if reference and reference != "State":
                assert document["components"]["schemas"][reference].get("examples"), (name, reference)


def test_the_examples_of_requests_are_answered(document: dict[str, Any], client: TestClient) -> None:
    for example in document["components"]["schemas"]["SearchRequest"]["examples"]:
        example = {key: value for key, value in example.items() if key != "like"} | {"text": "red shirt"}
        assert client.post("/v1/search", json=example).status_code == 200, example
    for example in document["components"]["schemas"]["EmbeddingRequest"]["examples"]:
        assert client.post("/v1/embeddings", json=example).status_code == 200
