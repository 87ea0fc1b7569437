"""The Qdrant engine."""
