"""The Model Context Protocol over corpora: tools with which a model finds, reads and cites documents."""

from serving.mcp.server import mcp_server
from serving.mcp.transports import McpEndpoint, run_stdio

__all__ = ["McpEndpoint", "mcp_server", "run_stdio"]
