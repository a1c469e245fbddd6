"""A real MCP server over standard input and output, whose tools call no model and wait for nothing but the client."""

import logging
import warnings
from typing import Annotated, Any

import anyio
import mcp.server
import mcp_types
import pydantic
from mcp.server.mcpserver import Context, Elicit, Resolve

server = mcp.server.MCPServer("helper")
User = mcp_types.SamplingMessage(role="user", content=mcp_types.TextContent(type="text", text="Hi"))


class Sure(pydantic.BaseModel):
    sure: bool


def ask() -> Any:
    return Elicit("Are you sure?", Sure)


@server.tool()
async def count(to: int, ctx: Context) -> str:
    for number in range(to):
        await ctx.report_progress(number + 1, to)
    return "done"


@server.tool()
async def broken() -> str:
    raise ValueError("no such file")


@server.tool()
async def book(answer: Annotated[Sure, Resolve(ask)]) -> str:
    """It asks a person: by a request of its own, or by an answer that wants input, as the revision has it."""
    return f"booked: {answer.sure}"


@server.tool()
async def think(ctx: Context) -> str:
    """It has the client's model think."""
    result: Any = await ctx.session.create_message([User], max_tokens=10)
    return str(result.content.text)


@server.tool()
async def hang(ctx: Context) -> str:
    """Until the client cancels it. That it has begun is its progress."""
    await ctx.report_progress(1, 2)
    await anyio.sleep_forever()
    return ""


logging.disable()  # standard error is the tests' own
warnings.simplefilter("ignore")
server.run("stdio")
