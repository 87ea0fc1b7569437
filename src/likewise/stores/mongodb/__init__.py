"""The MongoDB engine, which is experimental."""
