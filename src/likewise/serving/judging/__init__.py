"""Judging: what people say of hits, the queries that are still to be judged, and the page for it."""
