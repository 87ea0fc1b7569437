"""The pgvector engine."""
