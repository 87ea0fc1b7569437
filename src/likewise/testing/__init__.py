"""Test suites with which engines of other packages prove themselves; they need pytest and Hypothesis."""
