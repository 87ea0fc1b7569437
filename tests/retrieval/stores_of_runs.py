"""Stores that a run can keep in its own folder, one for each engine that needs no server."""

STORES = {
    "faiss": "faiss:index",
    "lancedb": "lancedb:items",
    "milvus-lite": "milvus:items.db",
}
