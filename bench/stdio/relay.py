"""What one would write without us: a command's lines, relayed by asyncio.

python -m bench.stdio.relay COMMAND ...
"""

from __future__ import annotations

import asyncio
import sys


async def relay(*command: str) -> int:
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE, limit=1 << 26)
    loop = asyncio.get_running_loop()
    transport, protocol = await loop.connect_write_pipe(asyncio.streams.FlowControlMixin, sys.stdout)
    writer = asyncio.StreamWriter(transport, protocol, None, loop)
    assert process.stdout is not None
    while line := await process.stdout.readline():
        writer.write(line)
        await writer.drain()
    writer.close()
    return await process.wait()


if __name__ == "__main__":
    sys.exit(asyncio.run(relay(*sys.argv[1:])))
