"""Keyword search (BM25) over words, numbers and codes, independent of the engine that holds the vectors."""
