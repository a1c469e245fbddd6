"""The boards that are committed are those that are generated, and keep the rules of boards."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import pytest
from dashboards.generate import __main__ as generator
from dashboards.generate.boards import board_outputs, sdk
from dashboards.generate.boards.board_rules import faults, panels
from dashboards.generate.objectives import Objectives

from streamgauge import semconv

Board = dict[str, Any]
ROOT = Path(__file__).parents[2]
UIDS = {"overview", "quality", "agents", "compare", "health"}


def test_the_sdk_is_the_release_that_is_meant() -> None:
    """An unpinned install takes one with an epoch in its version, which is older."""
    assert sdk.installed() == "0.0.21"


# The boards that are committed --------------------------------------------------------------------------------


def test_boards_are_as_generated(folder: Path, objectives: Objectives) -> None:
    made = board_outputs(objectives)
    assert set(made) == {f"grafana/{name}.json" for name in UIDS}
    assert {path: (folder / path).read_text("utf-8") for path in made} == made
    assert {path.name for path in (folder / "grafana").glob("*.json")} == {f"{name}.json" for name in UIDS}


def test_boards_are_generated_alike_each_time() -> None:
    script = (
        "import hashlib, json; from dashboards.generate.boards import board_outputs;"
        "from dashboards.generate.objectives import load;"
        "print(hashlib.sha256(json.dumps(board_outputs(load())).encode()).hexdigest())"
    )
    found = {
        subprocess.run(
            [sys.executable, "-c", script], cwd=ROOT, env={**os.environ, "PYTHONHASHSEED": seed}, check=True,
            capture_output=True, text=True,
        ).stdout
        for seed in ("1", "2")
    }  # fmt: skip
    assert len(found) == 1


def test_boards_keep_the_rules(boards: list[Board]) -> None:
    assert {board["uid"] for board in boards} == {f"streamgauge-{name}" for name in UIDS}
    assert faults(boards) == []


def test_thresholds_are_the_objectives(boards: list[Board], objectives: Objectives) -> None:
    assert objectives.first_token_seconds in semconv.FIRST_CHUNK.buckets
    assert objectives.health.added_latency_seconds in semconv.ADDED_LATENCY.buckets
    assert _steps(boards, "streamgauge-overview", "First token") == [None, objectives.first_token_seconds]
    factors = sorted(burn.factor for burn in objectives.burns)
    assert _steps(boards, "streamgauge-overview", "Burn rate") == [None, *factors]
    assert _steps(boards, "streamgauge-overview", "Streams that end well") == [None, objectives.targets["ends-well"]]
    added = [None, objectives.health.added_latency_seconds]
    assert _steps(boards, "streamgauge-health", "Added latency by instance") == added


def _steps(boards: list[Board], uid: str, title: str) -> list[float | None]:
    (panel,) = (panel for board in boards if board["uid"] == uid for panel in panels(board) if panel["title"] == title)
    return [step["value"] for step in panel["fieldConfig"]["defaults"]["thresholds"]["steps"]]


def test_links_to_traces_are_what_explore_reads(boards: list[Board]) -> None:
    urls = {
        link["url"]
        for board in boards
        for panel in panels(board)
        for link in panel["fieldConfig"]["defaults"].get("links", ())
        if link["url"].startswith("/explore")
    }
    assert len(urls) > 5
    for url in urls:
        (panes,) = parse_qs(urlsplit(url).query)["panes"]
        (pane,) = json.loads(panes).values()
        (query,) = pane["queries"]
        assert pane["datasource"] == query["datasource"]["uid"] == "${traces}"
        assert pane["range"] == {"from": "${__from}", "to": "${__to}"}
        assert query["query"].startswith("{ ")
        assert query["query"].endswith(" }")
        # Grafana fills in what is not encoded only.
        assert [part.split("}")[0] for part in unquote(url).split("${")[1:]] == [
            part.split("}")[0] for part in url.split("${")[1:]
        ]


# The command --------------------------------------------------------------------------------------------------


def test_the_command_writes_and_checks(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], objectives: Objectives
) -> None:
    assert generator.main(["--output", str(tmp_path)]) == 0
    written = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    assert written == set(generator.outputs(objectives))
    assert generator.main(["--check", "--output", str(tmp_path)]) == 0
    capsys.readouterr()

    (tmp_path / "grafana" / "quality.json").write_text("{}", "utf-8")
    (tmp_path / "prometheus" / "streamgauge.alerts.yml").unlink()
    assert generator.main(["--check", "--output", str(tmp_path)]) == 1
    told = capsys.readouterr().err.splitlines()
    assert len(told) == 2
    assert "grafana/quality.json is not as it would be generated" in told[0]
    assert "prometheus/streamgauge.alerts.yml is not as it would be generated" in told[1]
    assert not (tmp_path / "prometheus" / "streamgauge.alerts.yml").exists()

    assert generator.main(["--output", str(tmp_path)]) == 0
    assert "2 of them changed" in capsys.readouterr().out
    assert generator.main(["--check", "--output", str(tmp_path)]) == 0


def test_the_command_takes_other_objectives(tmp_path: Path, objectives: Objectives) -> None:
    other = 1.0 if objectives.first_token_seconds != 1.0 else 2.0
    own = tmp_path / "own.toml"
    own.write_text(f"[objective.first-token]\nseconds = {other}\n", "utf-8")
    assert generator.main(["--objectives", str(own), "--output", str(tmp_path)]) == 0
    board = json.loads((tmp_path / "grafana" / "overview.json").read_text("utf-8"))
    assert _steps([board], "streamgauge-overview", "First token") == [None, other]
    assert generator.main(["--check", "--output", str(tmp_path)]) == 1


def test_the_command_refuses_bad_objectives(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    own = tmp_path / "own.toml"
    own.write_text("[objective.first-token]\nseconds = 3.0\n", "utf-8")
    assert generator.main(["--objectives", str(own), "--output", str(tmp_path)]) == 1
    assert "own.toml" in capsys.readouterr().err
    assert not (tmp_path / "grafana").exists()


def test_the_command_refuses_another_sdk(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sdk, "installed", lambda: "1769699998!10.1.0")
    assert generator.main(["--output", str(tmp_path)]) == 1
    assert "must be 0.0.21" in capsys.readouterr().err
    assert not any(tmp_path.iterdir())


def test_the_command_refuses_to_write_a_bad_board(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, objectives: Objectives
) -> None:
    bad = {path: text.replace('"refresh": 2', '"refresh": 1') for path, text in board_outputs(objectives).items()}
    monkeypatch.setattr(generator, "board_outputs", lambda objectives: bad)
    assert generator.main(["--output", str(tmp_path)]) == 1
    assert "$model is not asked again when the time changes" in capsys.readouterr().err
    assert not any(tmp_path.iterdir())


def test_the_command_stands_by_itself(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "dashboards.generate", "--check"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
