"""The search as a web page."""
