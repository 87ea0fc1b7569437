"""What the engine pgvector is made of."""
