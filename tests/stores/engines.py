"""The engines that the conformance suite runs on. To add one, add an entry to ENGINES."""

import os
from uuid import uuid4

from stores import postgres, qdrant_server

from likewise.testing.stores import Engine


def _server(name: str, variable: str) -> list[Engine]:
    """A server that someone else has started, if its URI is in the environment; each test has its own collection."""
    uri = os.environ.get(variable)
    if not uri:
        return []
    return [
        Engine(name, lambda _: f"{uri}{'&' if '?' in uri else '?'}collection=test_{uuid4().hex[:16]}", processes=True)
    ]


ENGINES: list[Engine] = [
    Engine("faiss", lambda folder: f"faiss://{folder}/store", processes=True),
    Engine("faiss-ivf", lambda folder: f"faiss://{folder}/store?kind=ivf-sq8&target_recall=0.999", processes=True),
    Engine("lancedb", lambda folder: f"lancedb://{folder}/store", processes=True),
    Engine("milvus-lite", lambda folder: f"milvus://{folder}/store.db"),
    *_server("milvus", "LIKEWISE_TEST_MILVUS_URI"),
    Engine("qdrant-stand-in", qdrant_server.new_place, processes=True),
    *_server("qdrant", "LIKEWISE_TEST_QDRANT_URI"),
    Engine("pgvector", postgres.new_place, processes=True),
    *_server("mongodb", "LIKEWISE_TEST_MONGODB_URI"),
]
