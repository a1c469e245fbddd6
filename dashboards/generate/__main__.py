"""`python -m dashboards.generate`: writes the boards and the rules, or says which are not as they would be written."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from dashboards.generate.boards import board_outputs, sdk
from dashboards.generate.boards.board_rules import faults
from dashboards.generate.objectives import DEFAULTS, Objectives, ObjectivesError, load
from dashboards.generate.outputs import rule_outputs

FOLDER = Path(__file__).parents[1]


def outputs(objectives: Objectives) -> dict[str, str]:
    """Path below the folder: text."""
    return {**board_outputs(objectives), **rule_outputs(objectives)}


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m dashboards.generate", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; fail where a file is not as it would be")
    parser.add_argument("--objectives", type=Path, default=DEFAULTS, metavar="FILE", help="default: %(default)s")
    parser.add_argument("--output", type=Path, default=FOLDER, metavar="FOLDER", help="default: %(default)s")
    given = parser.parse_args(arguments)
    if sdk.installed() != sdk.PINNED:
        return _failed(
            f"grafana-foundation-sdk is {sdk.installed()}, and must be {sdk.PINNED}: pip install"
            f" 'grafana-foundation-sdk=={sdk.PINNED}'"
        )
    try:
        texts = outputs(load(given.objectives))
    except ObjectivesError as error:
        return _failed(str(error))
    wrong = faults([json.loads(text) for path, text in texts.items() if path.endswith(".json")])
    if wrong:
        return _failed("\n".join(wrong))
    changed = [path for path, text in sorted(texts.items()) if _text(given.output / path) != text]
    if given.check:
        for path in changed:
            _failed(f"{given.output / path} is not as it would be generated: python -m dashboards.generate")
        return 1 if changed else 0
    for path in changed:
        (given.output / path).parent.mkdir(parents=True, exist_ok=True)
        (given.output / path).write_text(texts[path], "utf-8")
    sys.stdout.write(f"{len(texts)} files, {len(changed)} of them changed\n")
    return 0


def _text(path: Path) -> str | None:
    return path.read_text("utf-8") if path.exists() else None


def _failed(why: str) -> int:
    sys.stderr.write(f"{why}\n")
    return 1


if __name__ == "__main__":
    sys.exit(main())
