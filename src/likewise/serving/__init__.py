"""Serving: the HTTP API, the MCP server and the search page."""
