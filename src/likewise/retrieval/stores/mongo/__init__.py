"""What the engine mongodb is made of."""
