"""The faiss engine: an immutable segment on disk, a delta in memory, a write-ahead log between them."""
