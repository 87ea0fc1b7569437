"""Items found by words, by a picture, by both, or by their likeness to another item."""
