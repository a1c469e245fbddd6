"""dashboards/README.md: what it says of the stack and of the files is so, and its commands do what they are for."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import yaml

from composed import FOLDER, ROOT, SERVICES, loaded

PAGE = (FOLDER / "README.md").read_text("utf-8")


def shown(kind: str) -> list[str]:
    """The page's blocks of code."""
    return re.findall(rf"^```{kind}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


def test_the_page_says_where_everything_is() -> None:
    rows = dict(re.findall(r"^\| `(\w+)` \|.*\| ([\d, ]+|-) \|$", PAGE, re.MULTILINE))
    published = {
        name: ", ".join(port.rpartition(":")[2] for port in service.get("ports", ())) or "-"
        for name, service in SERVICES.items()
    }
    assert rows == published
    ports = {int(port) for port in re.findall(r"http://localhost:(\d+)", PAGE)}
    assert ports <= {int(port) for ports in published.values() for port in ports.split(", ") if port != "-"}


def test_the_pages_links_lead_somewhere() -> None:
    links = [link for link in re.findall(r"\[[^\]]+\]\(([^)#\s]+)", PAGE) if "://" not in link]
    assert links
    assert [link for link in links if not (FOLDER / link).exists()] == []
    named = re.findall(r"[`\s](dashboards/[\w./-]+)", PAGE)
    assert named
    assert [path for path in named if not list(ROOT.glob(path.rstrip("./")))] == []


def test_the_pages_configuration_is_prometheus(tmp_path: Path) -> None:
    blocks = shown("yaml")
    assert len(blocks) == 2
    for name in ("streamgauge.rules.yml", "streamgauge.alerts.yml"):
        shutil.copy(FOLDER / "prometheus" / name, tmp_path)
    (tmp_path / "prometheus.yml").write_text("\n".join(blocks))
    done = subprocess.run(
        ["promtool", "check", "config", "prometheus.yml"], cwd=tmp_path, capture_output=True, text=True, timeout=30
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert set(loaded("prometheus", "prometheus.yml")["rule_files"]) == set(yaml.safe_load(blocks[1])["rule_files"])


def test_the_pages_kubernetes_resources_are_some(tmp_path: Path) -> None:
    """Its commands, with a kubectl that keeps what it is given."""
    kubectl = tmp_path / "kubectl"
    kubectl.write_text('#!/bin/sh\ncat >"$(mktemp "$KEPT/XXXXXX")"\n')
    kubectl.chmod(0o755)
    (block,) = [block for block in shown("sh") if "PrometheusRule" in block]
    kept = tmp_path / "kept"
    kept.mkdir()
    environ = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "KEPT": str(kept)}
    subprocess.run(["sh", "-eu", "-c", block], cwd=ROOT, env=environ, check=True, timeout=30)
    found = {made["metadata"]["name"]: made for made in (yaml.safe_load(file.read_text()) for file in kept.iterdir())}
    assert set(found) == {"streamgauge-rules", "streamgauge-alerts"}
    for name, made in found.items():
        assert made["kind"] == "PrometheusRule"
        assert made["spec"] == loaded("prometheus", f"{name.replace('-', '.')}.yml")


def test_the_page_has_every_board() -> None:
    titles = {
        json.loads(file.read_text("utf-8"))["title"].rpartition(" / ")[2]
        for file in (FOLDER / "grafana").glob("*.json")
    }
    rows = re.findall(r"^\| ([A-Z][\w ]+) \| ", PAGE, re.MULTILINE)
    assert titles <= set(rows)
