"""Why announced, or why not: a Service with its addresses and the configuration make Holders. Pure."""
