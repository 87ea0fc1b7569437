"""Items found by the very words, numbers and codes that stand in them, beside whatever engine holds the vectors."""
