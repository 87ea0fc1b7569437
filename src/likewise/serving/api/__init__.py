"""The HTTP API of `likewise serve`."""
