"""Answers as JSON, and what OpenAPI says of bodies that are read by hand."""

from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

from pydantic import BaseModel
from pydantic_core import to_json
from starlette.responses import Response

from likewise.retrieval.index import Index
from likewise.retrieval.items import Hit, Item
from likewise.serving.recordings import choose_recording

_FILE = {"type": "string", "format": "binary"}


class JsonAnswer(Response):
    """JSON, in which a number that is none is null."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        """Encode the content."""
        return to_json(content, inf_nan_mode="null")


def describe_item(item: Item | Hit) -> dict[str, Any]:
    """The fields of an item, and the paths of its thumbnail and its first recording."""
    place, heard = f"/v1/items/{quote(item.id, safe='')}", choose_recording(item)
    thumbnail = f"{place}/thumbnail?picture={item.picture.key}" if item.picture else None
    recording = f"{place}/recording?recording={heard.key}" if heard else None
    return {"fields": item.fields, "thumbnail": thumbnail, "recording": recording}


def describe_index(index: Index) -> dict[str, Any]:
    """Which index answers."""
    metadata = index.metadata
    return {"version": metadata.build, "model": metadata.model[:16], "items": len(index)}


def json_body(
    model: type[BaseModel], *, json_part: str | None = None, files: Sequence[str] = ("image",)
) -> dict[str, Any]:
    """What OpenAPI says of a request body that `requests` reads as a model; see `describe_body`."""
    return describe_body({"$ref": f"#/components/schemas/{model.__name__}"}, json_part=json_part, files=files)


def describe_body(
    schema: dict[str, Any], *, json_part: str | None = None, files: Sequence[str] = ("image",)
) -> dict[str, Any]:
    """What OpenAPI says of a request body that `requests` reads.

    Args:
        json_part: the name of the JSON in a form with files; None: forms are not understood.
        files: the names of its files.
    """
    content: dict[str, Any] = {"application/json": {"schema": schema}}
    if json_part is not None:
        several = {"type": "array", "items": {"type": "string", "format": "binary"}}
        properties = {json_part: schema, **dict.fromkeys(files, several)}
        content["multipart/form-data"] = {
            "schema": {"type": "object", "properties": properties},
            "encoding": {json_part: {"contentType": "application/json"}},
        }
    return {"requestBody": {"required": True, "content": content}}
