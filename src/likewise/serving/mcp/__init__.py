"""The MCP server: an index as tools for assistants, over stdio or HTTP."""
