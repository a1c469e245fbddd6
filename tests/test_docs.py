"""The documentation is true: generated parts are as generated, code runs and prints what is shown, links lead
somewhere, and everything that has a name is there."""

from __future__ import annotations

import ast
import importlib.util
import os
import re
import subprocess
import sys
import tomllib
from dataclasses import fields
from pathlib import Path
from types import ModuleType

import pytest

import streamgauge
from pages import PAGES, ROOT, SDKS, Block, blocks
from streamgauge import dialects, semconv
from streamgauge.settings import Settings, load
from streamgauge.wire import Granularity, Outcome

SCRIPTS = ROOT / "scripts"
LINK = re.compile(r"(?<!!)\[[^\]\n]+\]\(([^)\s]+)\)")
PYTHON = blocks("python")
RUN = [block for block in PYTHON if block.is_program and block.imports.isdisjoint(SDKS)]


def run(program: str, folder: Path, path: Path | None = None) -> str:
    """Run it as its reader would, in an empty folder; with `path`, what is installed there can be imported."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("OTEL_", "STREAMGAUGE_"))}
    environ["OTEL_EXPORTER_PROMETHEUS_PORT"] = "0"
    if path is not None:
        environ["PYTHONPATH"] = str(path)
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        cwd=folder, env=environ, capture_output=True, text=True, timeout=30,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


# Code -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("block", PYTHON, ids=lambda block: block.id)
def test_python_compiles(block: Block) -> None:
    flags = 0 if block.is_program else ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
    compile(block.text, block.id, "exec", flags, dont_inherit=True)


@pytest.mark.parametrize("block", RUN, ids=lambda block: block.id)
def test_python_runs(block: Block, tmp_path: Path) -> None:
    output = run(block.text, tmp_path)
    if block.output is not None:
        assert output.splitlines() == block.output.splitlines()


def test_the_outside_dialect_as_its_page_has_it(tmp_path: Path) -> None:
    """Its module and its entry point, installed as pip would do it; then the program that uses it."""
    page = ROOT / "docs" / "how-to" / "outside-dialect.md"
    written, used = (block for block in PYTHON if block.page == page)
    (project,) = (tomllib.loads(block.text)["project"] for block in blocks("toml") if block.page == page)
    (tmp_path / "acme_dialect.py").write_text(written.text)
    installed = tmp_path / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
    installed.mkdir()
    (installed / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n"
    )
    lines = [
        line
        for group, points in project["entry-points"].items()
        for line in (f"[{group}]", *(f"{name} = {value}" for name, value in points.items()))
    ]
    (installed / "entry_points.txt").write_text("\n".join(lines))
    assert used.output is not None
    assert run(used.text, tmp_path, tmp_path).splitlines() == used.output.splitlines()


def test_the_settings_file_loads(tmp_path: Path) -> None:
    (block,) = (block for block in blocks("toml") if block.page.name == "settings.md")
    file = tmp_path / "streamgauge.toml"
    file.write_text(block.text)
    settings = load(environ={}, file=file)
    assert {name: getattr(settings, name) for name in tomllib.loads(block.text)} == tomllib.loads(block.text)


# Links ------------------------------------------------------------------------------------------------------------


def anchors(page: Path) -> set[str]:
    """Those that a heading gets where Markdown is shown."""
    text = re.sub(r"^```.*?^```$", "", page.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    broken = []
    for link in LINK.findall(page.read_text("utf-8")):
        if link.startswith("https://"):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if not target.is_file() or not target.is_relative_to(ROOT) or (anchor and anchor not in anchors(target)):
            broken.append(link)
    assert broken == []


def test_every_page_is_linked() -> None:
    linked = {
        (page.parent / link.partition("#")[0]).resolve()
        for page in PAGES
        for link in LINK.findall(page.read_text("utf-8"))
        if not link.startswith(("https://", "#"))
    }
    assert [str(page) for page in PAGES if page not in linked and page != ROOT / "README.md"] == []


# Completeness -----------------------------------------------------------------------------------------------------


def read(name: str) -> str:
    return (ROOT / "docs" / name).read_text("utf-8")


@pytest.fixture
def generate(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """scripts/generate_docs.py, as a module."""
    monkeypatch.syspath_prepend(str(SCRIPTS))
    spec = importlib.util.spec_from_file_location("generate_docs", SCRIPTS / "generate_docs.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_generated_parts_are_as_generated(generate: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    assert generate.main(["--check"]) == 0, capsys.readouterr().err


def test_a_page_that_differs_is_told(
    generate: ModuleType, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    parts = "\n".join(f"<!-- generated: {name} -->\nold\n<!-- /generated -->" for name in generate.PARTS)
    page = tmp_path / "README.md"
    page.write_text(f"by hand\n{parts}\n")
    monkeypatch.setattr(generate, "ROOT", tmp_path)
    assert generate.main(["--check"]) == 1
    assert "README.md" in capsys.readouterr().err
    assert "old" in page.read_text()
    assert generate.main([]) == 0
    assert page.read_text().startswith("by hand\n")
    assert generate.main(["--check"]) == 0


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("<!-- generated: nonsense -->\n<!-- /generated -->", "there is no part"),
        ("<!-- generated: settings -->\n", "has no end"),
        ("nothing", "no page has"),
    ],
)
def test_unsound_markers_are_told(
    generate: ModuleType, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path,
    text: str, problem: str,
) -> None:  # fmt: skip
    (tmp_path / "README.md").write_text(text)
    monkeypatch.setattr(generate, "ROOT", tmp_path)
    assert generate.main(["--check"]) == 1
    assert problem in capsys.readouterr().err


def test_every_attribute_and_label_has_a_meaning(generate: ModuleType) -> None:
    names = {
        value for name, value in vars(semconv).items() if name.isupper() and isinstance(value, str) and "." in value
    }
    labels = {label for profile in semconv.PROFILES.values() for metric in profile.metrics for label in metric.labels}
    labels |= set(semconv.COMMON_LABELS)
    assert set(generate.LABELS) == labels
    assert set(generate.ATTRIBUTES) == names - {semconv.GEN_AI_TOKEN_TYPE, semconv.GEN_AI_TOKEN_MODALITY}


def test_what_is_said_to_be_set_by_nobody_is(generate: ModuleType) -> None:
    source = "".join(
        file.read_text("utf-8") for file in Path(streamgauge.__file__).parent.rglob("*.py") if file.name != "semconv.py"
    )
    constants = {value: name for name, value in vars(semconv).items() if name.isupper() and isinstance(value, str)}
    words = sys.modules["telemetry_words"]
    used = {name for name in generate.ATTRIBUTES if re.search(rf"semconv\.{constants[name]}\b", source)}
    said = {name for name, (_, on, _) in generate.ATTRIBUTES.items() if on not in (words.GIVEN, words.PLANNED)}
    assert used == said
    silent = [name for name in vars(semconv) if isinstance(getattr(semconv, name), semconv.Metric) and name.isupper()]
    unused = {getattr(semconv, name) for name in silent if not re.search(rf"\b(semconv\.)?{name}\b", source)}
    profiled = {metric for profile in semconv.PROFILES.values() for metric in vars_of(profile)}
    assert unused - profiled == generate._NO_SERIES


def vars_of(profile: semconv.Profile) -> set[semconv.Metric]:
    """The metrics that a recorder reaches by way of the profile."""
    by_tokens = {metric for metrics in profile.tokens.values() for metric, _ in metrics}
    return {profile.duration, profile.inference_duration, profile.first_chunk, profile.per_chunk, *by_tokens}


def test_every_metric_is_documented() -> None:
    page = read("telemetry.md")
    metrics = {metric.name for profile in semconv.PROFILES.values() for metric in profile.metrics}
    assert [name for name in sorted(metrics) if f"`{name}`" not in page] == []


def test_every_setting_is_documented() -> None:
    page = read("settings.md")
    for setting in fields(Settings):
        assert f"| `{setting.name}` | `{setting.metadata['variable']}` |" in page


def test_every_dialect_and_event_is_documented() -> None:
    page = read("dialects.md")
    for name in dialects.BUILT_IN:
        dialect = dialects.find(name)
        assert dialect is not None
        assert f"\n### {name}\n" in page
        assert [event for event in dialect.events if f"| `{event}` |" not in page] == []


def test_every_ending_and_granularity_is_documented() -> None:
    for page in (read("telemetry.md"), (ROOT / "README.md").read_text("utf-8")):
        assert [outcome for outcome in Outcome if f"| `{outcome}` |" not in page] == []
    assert [kind for kind in Granularity if f"| `{kind}` |" not in read("telemetry.md")] == []


def test_every_how_to_has_verify_and_troubleshooting() -> None:
    pages = [*(ROOT / "docs" / "how-to").glob("*.md"), ROOT / "docs" / "quickstart.md"]
    lacking = [page.name for page in pages if not {"verify", "troubleshooting"} <= anchors(page)]
    assert lacking == []


def test_every_decision_has_its_parts() -> None:
    for note in sorted((ROOT / "docs" / "decisions").glob("0*.md")):
        text = note.read_text("utf-8")
        for part in ("Context", "Decision", "Consequences", "Rejected", "What would change our mind"):
            assert f"\n**{part}.** " in text, note.name
        assert len(text.splitlines()) <= 50, "at most one screen"


@pytest.mark.parametrize("name", sorted(dialects.PROGRAMS))
def test_the_how_to_of_a_program_shows_its_trace(name: str) -> None:
    page = ROOT / "docs" / "how-to" / f"{name}.md"
    (picture,) = re.findall(r"!\[[^]]+\]\(([^)]+)\)", page.read_text("utf-8"))
    assert (page.parent / picture).read_bytes().startswith(b"\x89PNG")
    assert picture == f"../images/trace-{name}.png"
