"""Queries of five different words, and requests that ask them."""

import json
import random
from collections.abc import Iterator
from typing import Any

from clustered import WORDS


def five_words(seed: int) -> Iterator[str]:
    """Endlessly many queries, hardly ever the same one twice: there are 250 million."""
    words = sorted(set(WORDS))
    chance = random.Random(seed)
    while True:
        yield " ".join(chance.sample(words, 5))


def search_request(text: str, k: int = 10) -> bytes:
    """A search as it goes over the wire."""
    return json_request("POST", "/v1/search", {"text": text, "k": k})


def json_request(method: str, path: str, content: Any) -> bytes:
    """A request with a JSON body, on a connection that stays open."""
    body = json.dumps(content).encode()
    head = (
        f"{method} {path} HTTP/1.1\r\nHost: localhost\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body
