"""The command line: `streamgauge COMMAND`. To add a command: a file `_command.py` here, and its name in `COMMANDS`.

Exit codes: 0 done; 1 `check` found a problem, a stream could not be decoded, or the fault is ours; 2 the user's
mistake, told in one line on standard error; 130 ended by Ctrl-C, 143 by SIGTERM.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Sequence

from streamgauge._version import __version__
from streamgauge.errors import FormatError, MissingExtraError, UsageError

__all__ = ["COMMANDS", "main", "parser"]

COMMANDS = ("demo", "proxy", "exec", "replay", "dialects", "check")

_DESCRIPTION = """\
OpenTelemetry-instrumented streaming middleware for agents: time to first token,
chunk rate, stalls, retries, tool calls, and how each stream ended."""

_EPILOG = """\
start here:
  streamgauge demo     see it work; needs no service
  streamgauge check    what is set, what is installed, what answers

without a change to your program, by its client's base URL or its command:
  streamgauge proxy --upstream https://api.openai.com
  streamgauge exec -- claude -p "Fix the tests" --output-format stream-json

in your own program:
  import streamgauge
  streamgauge.setup()              /metrics; and OTLP, where its endpoint is set
  agent = streamgauge.wrap(agent)  the same agent, its streams are measured

where a stream looks wrong:
  STREAMGAUGE_CAPTURE_DIR=captures python your_program.py
  streamgauge replay captures/*.ndjson

`streamgauge COMMAND --help` says more of each.

exit codes: 0 done; 1 a problem was found; 2 a mistake in what was given;
130 ended by Ctrl-C.
"""


def parser(commands: Sequence[str] = COMMANDS) -> argparse.ArgumentParser:
    """The parser of these commands; the documentation is written from that of all."""
    made = argparse.ArgumentParser(
        prog="streamgauge",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.add_argument("--version", action="version", version=f"streamgauge {__version__}")
    added = made.add_subparsers(title="commands", metavar="COMMAND", dest="command")
    for command in commands:
        module = importlib.import_module(f"streamgauge.cli._{command}")
        module.add(added, formatter_class=argparse.RawDescriptionHelpFormatter)
    return made


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command. Returns its exit code."""
    given = sys.argv[1:] if arguments is None else arguments
    # The others are not imported: who runs a program by `exec` waits for it.
    made = parser(given[:1] if given and given[0] in COMMANDS else COMMANDS)
    try:
        options = made.parse_args(given)
        if options.command is None:
            made.print_help()
            code = 0
        else:
            code = options.run(options)
        sys.stdout.flush()
    except (UsageError, FormatError, MissingExtraError) as error:
        print(f"streamgauge: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:  # the reader has seen enough: `| head`
        _let_go()
        return 0
    except KeyboardInterrupt:
        return 130
    return int(code)


def _let_go() -> None:
    """Write the rest to nowhere, so that the interpreter does not fail as it flushes."""
    with open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), sys.stdout.fileno())
