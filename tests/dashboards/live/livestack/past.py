"""A yesterday for queries that compare with it: what a real proxy has just shown, put into Prometheus' storage as of
a day before.
"""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

import httpx

from livestack.processes import command, environment

__all__ = ["pages", "write"]

DAY_S = 86_400.0
_SAMPLE = re.compile(r"^(\w+)(?:\{(.*)\})? (\S+)$")


def pages(address: str, count: int, every_s: float) -> list[str]:
    """What `/metrics` shows, again and again."""
    found = []
    with httpx.Client(trust_env=False) as client:
        for number in range(count):
            if number:
                time.sleep(every_s)  # how long it is watched for, and nothing that is waited for
            found.append(client.get(f"http://{address}/metrics").raise_for_status().text)
    return found


def write(folder: Path, data: Path, job: str, address: str, pages: Sequence[str], every_s: float) -> None:
    """Into the storage of a Prometheus that is not started yet.

    Args:
        data: its storage.
        every_s: between two pages, from a day before now on: yesterday may have been slower, and is then longer.
    """
    began = time.time() - DAY_S
    lines = []
    for number, page in enumerate(pages):
        for line in page.splitlines():
            sample = _SAMPLE.match(line)
            if sample is not None:
                labels = ",".join(filter(None, (sample[2], f'job="{job}"', f'instance="{address}"')))
                lines.append(f"{sample[1]}{{{labels}}} {sample[3]} {began + number * every_s:.3f}")
    text = folder / "yesterday.txt"
    text.write_text("\n".join([*lines, "# EOF\n"]), "utf-8")
    program = [command("promtool"), "tsdb", "create-blocks-from", "openmetrics", "--quiet", str(text), str(data)]
    subprocess.run(program, check=True, env=environment(), capture_output=True, timeout=60)
