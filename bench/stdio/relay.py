"""What one would write without us: a command's output, relayed by asyncio, as it comes or line by line.

python -m bench.stdio.relay [--lines] COMMAND ...
"""

from __future__ import annotations

import asyncio
import sys


async def relay(*command: str, lines: bool) -> int:
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE, limit=1 << 26)
    loop = asyncio.get_running_loop()
    transport, protocol = await loop.connect_write_pipe(asyncio.streams.FlowControlMixin, sys.stdout)
    transport.set_write_buffer_limits(0)  # `drain` waits for all of it: nothing is lost when the loop ends
    writer = asyncio.StreamWriter(transport, protocol, None, loop)
    source = process.stdout
    assert source is not None
    while data := await (source.readline() if lines else source.read(65_536)):
        writer.write(data)
        await writer.drain()
    writer.close()
    return await process.wait()


if __name__ == "__main__":
    given = sys.argv[1:]
    by_line = given[:1] == ["--lines"]
    sys.exit(asyncio.run(relay(*given[by_line:], lines=by_line)))
