"""An MCP server that refuses arguments that its tools do not take. The protocol's library ignores them."""

from typing import Any

from mcp.server import MCPServer
from mcp.server.mcpserver import Context
from mcp.server.mcpserver.exceptions import ToolError
from mcp.types import CallToolResult, InputRequiredResult, Tool


class StrictServer(MCPServer[Any]):
    """An `MCPServer` whose tools take what their schemas name, and nothing else."""

    async def list_tools(self) -> list[Tool]:
        tools = await super().list_tools()
        schemas = [{**tool.input_schema, "additionalProperties": False} for tool in tools]
        return [tool.model_copy(update={"input_schema": schema}) for tool, schema in zip(tools, schemas, strict=True)]

    async def call_tool(
        self, name: str, arguments: dict[str, Any], context: Context[Any, Any] | None = None
    ) -> CallToolResult | InputRequiredResult:
        for tool in await self.list_tools():
            known = tool.input_schema.get("properties", {})
            if tool.name == name and (unknown := sorted(arguments.keys() - known.keys())):
                raise ToolError(f"{name}: takes no {', '.join(unknown)}; it takes {', '.join(known)}")
        return await super().call_tool(name, arguments, context)
