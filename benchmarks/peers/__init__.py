"""The systems of `benchmarks/quality.py`: each learns from the same rows on the same clock, and is asked the same."""
