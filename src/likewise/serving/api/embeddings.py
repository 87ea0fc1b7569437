"""Embeddings in OpenAI's format."""

import base64
from typing import Any

import numpy as np
from fastapi import APIRouter, Request
from starlette.responses import Response

from likewise.errors import UserError
from likewise.serving.api.answers import JsonAnswer, json_body
from likewise.serving.api.problems import ProblemError
from likewise.serving.api.requests import read_json, until_client_leaves
from likewise.serving.api.schemas import LONGEST_TEXT, EmbeddingAnswer, EmbeddingRequest, ModelList
from likewise.serving.query_pictures import names_url, parse_picture
from likewise.serving.service import SearchService
from likewise.stores.inputs import normalise_vectors

_QUERY = "likewise/query"


def embedding_routes(service: SearchService, created: int) -> APIRouter:
    """The routes that OpenAI's clients know.

    Args:
        created: when the index was built, in seconds since 1970.
    """
    router = APIRouter(tags=["embeddings"])

    @router.post(
        "/embeddings",
        summary="Encode texts or pictures, in OpenAI's format",
        response_model=EmbeddingAnswer,
        openapi_extra=json_body(EmbeddingRequest),
    )
    async def embed(request: Request) -> Response:
        asked = await read_json(request, EmbeddingRequest)
        if asked.model not in service.towers:
            raise ProblemError(422, f"this server encodes with {' and '.join(service.towers)}, not {asked.model}")
        inputs = asked.input if isinstance(asked.input, list) else [asked.input]
        with service.measuring("embeddings"):
            vectors = await until_client_leaves(request, _encode(service, asked.model, inputs))
        if asked.dimensions is not None:
            vectors = _truncate(vectors, asked.dimensions)
        # characters, as the tokens of different encoders cannot be compared
        size = sum(len(text) for text in inputs if not _is_picture(text))
        return JsonAnswer(
            {
                "object": "list",
                "data": [
                    {"object": "embedding", "index": place, "embedding": _write(vector, asked.encoding_format)}
                    for place, vector in enumerate(vectors)
                ],
                "model": asked.model,
                "usage": {"prompt_tokens": size, "total_tokens": size},
            }
        )

    @router.get("/models", summary="The towers that encode", response_model=ModelList)
    async def list_models() -> Response:
        models = [
            {"id": name, "object": "model", "created": created, "owned_by": "likewise"} for name in service.towers
        ]
        return JsonAnswer({"object": "list", "data": models})

    return router


async def _encode(service: SearchService, tower: str, inputs: list[str]) -> np.ndarray:
    """(inputs, dim) float32."""
    pictures = [place for place, text in enumerate(inputs) if _is_picture(text)]
    texts = [place for place, text in enumerate(inputs) if not _is_picture(text)]
    for place in texts:
        if len(inputs[place]) > LONGEST_TEXT:
            raise UserError(f"input {place} has {len(inputs[place]):,} characters; the limit is {LONGEST_TEXT:,}")
        if not inputs[place].strip():
            raise UserError(f"input {place} is blank")
    limits = service.limits
    sources = [
        parse_picture(inputs[place], allow_urls=limits.allow_urls, most_bytes=limits.image_bytes) for place in pictures
    ]
    vectors = np.empty((len(inputs), service.index.model.dim), np.float32)
    if texts:
        words = [inputs[place].strip() for place in texts]
        vectors[texts] = await (service.encode_queries(words) if tower == _QUERY else service.encode_titles(words))
    if pictures:
        vectors[pictures] = await service.encode_pictures(sources)
    return vectors


def _is_picture(text: str) -> bool:
    return text[:11].lower() == "data:image/" or names_url(text)


def _truncate(vectors: np.ndarray, dimensions: int) -> np.ndarray:
    if dimensions > vectors.shape[1]:
        raise UserError(f"dimensions must be at most {vectors.shape[1]}, not {dimensions}")
    return normalise_vectors(vectors[:, :dimensions], dimensions)


def _write(vector: np.ndarray, encoding: str) -> Any:
    if encoding == "base64":
        return base64.b64encode(vector.astype("<f4").tobytes()).decode()
    return vector.tolist()
