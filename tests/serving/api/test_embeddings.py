"""Embeddings in OpenAI's format, asked for by OpenAI's own client."""

import base64
from typing import Any

import numpy as np
import openai
import pytest
from serving.api.examples import FakeTextModel, png
from starlette.testclient import TestClient


@pytest.fixture
def official(client: TestClient) -> openai.OpenAI:
    return openai.OpenAI(api_key="none", base_url="http://testserver/v1", http_client=client)


def test_the_official_client_gets_vectors(official: openai.OpenAI) -> None:
    answer = official.embeddings.create(model="likewise/query", input=["red apple", "blue"])
    expected = FakeTextModel().encode_queries(["red apple", "blue"])
    np.testing.assert_allclose([one.embedding for one in answer.data], expected, atol=1e-6)
    assert [one.index for one in answer.data] == [0, 1]
    assert answer.model == "likewise/query"
    assert [model.id for model in official.models.list()] == ["likewise/query", "likewise/item"]


def test_floats_are_those_of_base64(client: TestClient) -> None:
    def embed(**body: Any) -> Any:
        answer = client.post("/v1/embeddings", json={"model": "likewise/query", "input": "red apple", **body})
        return answer.json()["data"][0]["embedding"]

    packed = np.frombuffer(base64.b64decode(embed(encoding_format="base64")), "<f4")
    np.testing.assert_array_equal(packed, np.array(embed(), np.float32))


def test_items_are_encoded_by_their_own_tower(official: openai.OpenAI) -> None:
    answer = official.embeddings.create(model="likewise/item", input="red apple")
    expected = FakeTextModel().encode_field_texts("title", ["red apple"])[0]
    np.testing.assert_allclose(answer.data[0].embedding, expected, atol=1e-6)


def test_fewer_dimensions_have_unit_norm(official: openai.OpenAI) -> None:
    answer = official.embeddings.create(model="likewise/query", input="red apple", dimensions=8)
    assert len(answer.data[0].embedding) == 8
    assert np.linalg.norm(answer.data[0].embedding) == pytest.approx(1, abs=1e-5)


def test_pictures_among_texts(official: openai.OpenAI) -> None:
    picture = f"data:image/png;base64,{base64.b64encode(png((0, 0, 255))).decode()}"
    answer = official.embeddings.create(model="likewise/query", input=[picture, "blue", picture])
    first, words, again = (np.array(one.embedding) for one in answer.data)
    np.testing.assert_array_equal(first, again)
    assert first @ words > 0.9


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"input": [1, 2, 3]}, "token arrays"),
        ({"input": [[1, 2], [3]]}, "token arrays"),
        ({"input": []}, "input"),
        ({"input": ""}, "input"),
        ({"input": ["x", " "]}, "input 1 is blank"),
        ({"input": "x" * 10_001}, "limit is 10,000"),
        ({"input": "x", "dimensions": 1_000}, "at most 64"),
        ({"input": "x", "dimensions": 0}, "dimensions"),
        ({"input": "x", "model": "text-embedding-3-small"}, "model"),
        ({"input": "x", "encoding_format": "int8"}, "encoding_format"),
        ({"input": "https://example.com/x.png"}, "send the picture itself"),
        ({"input": "data:image/png;base64,AAAA"}, "picture"),
        ({"input": ["x"] * 513}, "input"),
    ],
)
def test_what_cannot_be_encoded_is_one_sentence(client: TestClient, body: dict[str, Any], words: str) -> None:
    answer = client.post("/v1/embeddings", json={"model": "likewise/query", **body})
    assert answer.status_code == 422, answer.text
    assert words in answer.json()["detail"]
