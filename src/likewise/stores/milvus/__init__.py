"""The Milvus engine."""
