"""The search engine on plain data: one strategy per node, least cost, memory limit at every time."""
