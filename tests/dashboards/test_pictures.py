"""The pictures of the boards' data: drawn of what Prometheus answers; and those that are committed."""

from __future__ import annotations

import copy
import io
import json
import math
import re
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dashboards.pictures.fields import Field, color_of, fields, legend
from dashboards.pictures.graphs import counted, legend_grid, threshold
from dashboards.pictures.page import CAPTION, WIDTH, drawn, size, variables
from dashboards.pictures.prometheus import Answers, Exemplar, Series, Window, asked, filled, over_http
from dashboards.pictures.running import prometheus_config, running, until
from dashboards.pictures.tables import tabled
from dashboards.pictures.units import beside, on_axis, written
from PIL import Image

from pages import ROOT

BOARDS = sorted((ROOT / "dashboards" / "grafana").glob("*.json"))
IMAGES = ROOT / "docs" / "images"
SCRIPT = ROOT / "scripts" / "draw_boards.py"
MOST_BYTES = 300_000
WINDOW = Window(1_000.0, 1_240.0, 5.0)
TIMES = [1_000.0 + 2 * each for each in range(121)]


class Canned:
    """Answers as Prometheus does, always the same; keeps what it was asked."""

    def __init__(self, level: float = 1.0, *, empty: bool = False) -> None:
        self.level, self.empty = level, empty
        self.asked: list[tuple[str, Mapping[str, str]]] = []

    def __call__(self, path: str, parameters: Mapping[str, str]) -> Any:
        self.asked.append((path, parameters))
        if path == "query_exemplars":
            spans = [{"labels": {"trace_id": "ab"}, "value": str(0.5 * self.level), "timestamp": 1_100.0}]
            return [] if self.empty else [{"seriesLabels": {}, "exemplars": spans}]
        is_heat = parameters["query"].startswith("sum by (le)")
        found: list[Any] = []
        for number, le in enumerate(("0.1", "1.0", "+Inf") if is_heat else ("", "x")):
            metric = {"le": le} if is_heat else {"streamgauge_outcome": "completed" if le else "failed"}
            value = str(self.level * (number + 1))
            if path == "query_range":
                found.append({"metric": metric, "values": [[time, value] for time in TIMES]})
            else:
                found.append({"metric": metric, "value": [1_240.0, value]})
        return {"resultType": "matrix", "result": [] if self.empty else found}


def panel(kind: str, *targets: dict[str, Any], **more: Any) -> dict[str, Any]:
    config = {"defaults": {"unit": "s", "noValue": "no streams", "custom": {}}, "overrides": []}
    grid = {"x": 0, "y": 0, "w": 12, "h": 8}
    return {"type": kind, "title": "A title", "gridPos": grid, "targets": targets, "fieldConfig": config, **more}


def board(*panels: dict[str, Any]) -> dict[str, Any]:
    job = {"name": "job", "includeAll": True, "allValue": ".*", "current": {"value": ["$__all"]}}
    return {"title": "A board", "panels": panels, "templating": {"list": [job]}}


def target(expr: str = 'up{job=~"$job"}', ref: str = "A", **more: Any) -> dict[str, Any]:
    return {"refId": ref, "expr": expr, **more}


# What is asked ----------------------------------------------------------------------------------------------------


def test_macros_and_variables_are_filled_in() -> None:
    query = 'rate(x{job=~"$job",m=~"${model:regex}"}[$__rate_interval]) / $__range_s + y[$__range] offset $__interval'
    chosen = {"job": ".*", "model": "gpt-5"}
    assert filled(query, WINDOW, chosen) == 'rate(x{job=~".*",m=~"gpt-5"}[20s]) / 240 + y[240s] offset 2s'
    with pytest.raises(KeyError):
        filled("x{job=~'$jobs'}", WINDOW, chosen)


@pytest.mark.parametrize(
    ("window", "step_s", "rate"),
    [
        (Window(0, 240, 5), 2, "20s"),  # four scrapes
        (Window(0, 3_600, 5), 30, "35s"),  # or a step and a scrape
        (Window(0, 60, 15), 1, "60s"),
        (Window(0, 240, 5, least_s=300), 300, "305s"),
    ],
)
def test_rates_are_over_enough_scrapes(window: Window, step_s: int, rate: str) -> None:
    """As Grafana has it: the larger of a step with a scrape, and of four scrapes."""
    assert (window.step_s, window.macros["__rate_interval"]) == (step_s, rate)


def test_all_stands_for_every_value() -> None:
    made = board()
    made["templating"]["list"].append({"name": "kind", "current": {"value": "page"}})
    assert variables(made) == {"job": ".*", "kind": "page"}


def test_a_query_is_asked_over_time_or_at_the_end() -> None:
    canned = Canned()
    over = asked(canned, target(exemplar=True), WINDOW, {"job": ".*"})
    at = asked(canned, target(instant=True, range=False), WINDOW, {"job": ".*"})
    assert [path for path, _ in canned.asked] == ["query_range", "query_exemplars", "query"]
    assert canned.asked[0][1] == {"query": 'up{job=~".*"}', "start": "1000.0", "end": "1240.0", "step": "2"}
    assert canned.asked[2][1]["time"] == "1240.0"
    assert [len(series.values) for series in over.series] == [121, 121]
    assert over.exemplars == [Exemplar(1_100.0, 0.5)]
    assert [series.values for series in at.series] == [[2.0], [1.0]]  # by their labels: completed, failed
    assert at.exemplars == []


def test_exemplars_are_thinned_as_grafana_does() -> None:
    def get(path: str, parameters: Mapping[str, str]) -> Any:
        if path == "query_range":
            return {"resultType": "matrix", "result": []}
        traced = [
            {"labels": {"trace_id": "a"}, "value": str(value), "timestamp": 1_001.0} for value in (1, 1.1, 1.2, 9)
        ]
        later = {"labels": {"trace_id": "a"}, "value": "1", "timestamp": 1_101.0}
        return [{"exemplars": [*traced, later, {"labels": {}, "value": "50", "timestamp": 1_001.0}]}]

    found = asked(get, target(exemplar=True), WINDOW, {"job": ".*"}).exemplars
    # Of one step the highest, and what is two standard deviations (6.3) below it; without a trace there is none.
    assert found == [Exemplar(1_001.0, 9.0), Exemplar(1_001.0, 1.2), Exemplar(1_101.0, 1.0)]


# How it is shown --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "unit", "decimals", "text"),
    [
        (0.0123, "s", None, "12.3 ms"),
        (0.0, "s", None, "0 s"),
        (75.0, "s", None, "1.25 min"),
        (0.0000005, "s", None, "0.5 µs"),
        (0.9941, "percentunit", None, "99.4%"),
        (-0.28, "percentunit", 0, "-28%"),
        (1_536.0, "bytes", None, "1.5 KiB"),
        (1_500.0, "Bps", None, "1.5 kB/s"),
        (3.0, "bytes", None, "3 B"),
        (12_345.0, "short", None, "12.3 K"),
        (7.0, "short", None, "7"),
        (12_345.0, "none", None, "12345"),
        (0.6149, "suffix:x", None, "0.615 x"),
        (7_972.0, "count:tokens/s", None, "7.97 K tokens/s"),
        (math.nan, "s", None, "no value"),
        (math.inf, "s", None, "∞"),
    ],
)
def test_numbers_are_written_in_their_units(value: float, unit: str, decimals: int | None, text: str) -> None:
    assert written(value, unit, decimals) == text


def test_a_unit_that_is_a_word_stands_beside_the_title() -> None:
    assert (beside("suffix:chunks/s"), on_axis("suffix:chunks/s")) == ("chunks/s", "short")
    assert (beside("s"), on_axis("s")) == ("", "s")
    with pytest.raises(KeyError):
        written(1, "furlongs")


def test_series_have_their_names_and_settings() -> None:
    series = Series({"model": "gpt-5", "empty": ""}, [0.0], [1.0])
    assert legend({"legendFormat": "{{model}} p95{{none}}"}, series) == "gpt-5 p95"
    assert legend({}, series) == '{model="gpt-5"}'
    assert legend({"expr": "1 + 1"}, Series({}, [], [])) == "1 + 1"
    made = panel("timeseries", target(legendFormat="{{model}}"))
    red = {"id": "color", "value": {"mode": "fixed", "fixedColor": "dark-red"}}
    dashed = {"id": "custom.lineStyle", "value": {"fill": "dash"}}
    made["fieldConfig"]["overrides"] = [{"matcher": {"id": "byName", "options": "gpt-5"}, "properties": [red, dashed]}]
    (one,) = fields(made, [Answers("A", [series])])
    assert (one.name, one.unit, one.custom) == ("gpt-5", "s", {"lineStyle": {"fill": "dash"}})
    assert color_of(one.config["color"]["fixedColor"]) == "#C4162A"
    (other,) = fields(made, [Answers("A", [Series({"model": "b"}, [], [])])])
    assert "color" not in other.config


def test_thresholds_color_by_the_highest_step_that_is_reached() -> None:
    steps = [{"color": "green", "value": None}, {"color": "orange", "value": 1}, {"color": "red", "value": 2}]
    made = Field("a", "A", Series({}, [], []), {"thresholds": {"steps": steps}})
    assert [threshold(made, value) for value in (0.5, 1.0, 5.0)] == [color_of(each["color"]) for each in steps]
    assert threshold(made, math.nan) is None


def test_a_heatmap_counts_each_bucket_by_itself() -> None:
    """The series count all up to their bound, and that of two models adds up."""
    rows = {"0.1": [1.0, 2.0], "1.0": [4.0, 4.0], "+Inf": [4.0, 5.0]}
    shown = [
        Field(le, "A", Series({"le": le, "m": model}, [0.0, 2.0], row)) for le, row in rows.items() for model in "ab"
    ]
    bounds, counts = counted(shown, np.array([0.0, 2.0]))
    assert bounds == [0.1, 1.0, math.inf]
    assert counts.tolist() == [[2, 4], [6, 4], [0, 2]]


def test_a_legend_has_room_for_its_names() -> None:
    assert legend_grid([], 500) == (1, 0)
    assert legend_grid(["a"] * 4, 500) == (4, 1)
    assert legend_grid(["a long name of a series"] * 4, 200) == (1, 4)
    assert legend_grid(["a long name of a series"] * 40, 200) == (1, 4)


def test_a_table_has_a_row_for_each_set_of_labels() -> None:
    streams = [Series({"model": "a"}, [0], [3.0]), Series({"model": "b"}, [0], [40.0])]
    firsts = [Series({"model": "b"}, [0], [0.25])]
    organize = {
        "excludeByName": {"Time": True},
        "renameByName": {"model": "Model", "Value #A": "Streams", "Value #B": "First"},
        "indexByName": {"Value #B": 1, "model": 0, "Value #A": 2},
    }
    made = panel("table", target(), target(ref="B"), options={"sortBy": [{"displayName": "Streams", "desc": True}]})
    made["transformations"] = [{"id": "merge", "options": {}}, {"id": "organize", "options": organize}]
    plain = {"matcher": {"id": "byName", "options": "Streams"}, "properties": [{"id": "unit", "value": "none"}]}
    made["fieldConfig"]["overrides"] = [plain]
    table = tabled(made, [Answers("A", streams), Answers("B", firsts)])
    assert table.columns == ["Model", "First", "Streams"]
    assert [[cell.text for cell in row] for row in table.rows] == [["b", "250 ms", "40"], ["a", "", "3"]]
    assert table.numeric == [False, True, True]
    with pytest.raises(ValueError, match="cannot be drawn"):
        tabled({**made, "transformations": [{"id": "groupBy"}]}, [])


# Pictures ---------------------------------------------------------------------------------------------------------

PANELS = [
    panel("timeseries", target(exemplar=True)),
    panel("heatmap", target("sum by (le) (x)")),
    panel("table", target(instant=True)),
    panel("stat", target(instant=True)),
]


@pytest.mark.parametrize("one", PANELS, ids=lambda each: each["type"])
def test_a_picture_is_of_what_was_answered(one: dict[str, Any]) -> None:
    pictures = [drawn(board(one), canned, WINDOW) for canned in (Canned(), Canned(), Canned(3.5), Canned(empty=True))]
    assert pictures[0] == pictures[1]
    # A heatmap's colors are relative to its largest number, which the answer's level does not change.
    assert len(set(pictures)) == (2 if one["type"] == "heatmap" else 3)
    for picture in pictures:
        with Image.open(io.BytesIO(picture)) as image:
            assert image.size == size(board(one))


def test_what_cannot_be_drawn_is_said() -> None:
    with pytest.raises(ValueError, match=r"'A title': a candlestick cannot be drawn"):
        drawn(board(panel("candlestick", target())), Canned(), WINDOW)


@pytest.mark.parametrize("file", BOARDS, ids=lambda file: file.stem)
@pytest.mark.parametrize("canned", [Canned(), Canned(empty=True)], ids=["data", "idle"])
def test_every_board_can_be_drawn(file: Path, canned: Canned) -> None:
    given = json.loads(file.read_text("utf-8"))
    kept = copy.deepcopy(given)
    with Image.open(io.BytesIO(drawn(given, canned, WINDOW))) as image:
        assert image.size == size(given)
    assert given == kept
    assert [parameters["query"] for _, parameters in canned.asked if "$" in parameters["query"]] == []
    targets = [each for made in given["panels"] for each in made.get("targets", ()) if "expr" in each]
    assert len([path for path, _ in canned.asked if path != "query_exemplars"]) >= len(targets) > 0


# What is committed ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("file", BOARDS, ids=lambda file: file.stem)
def test_each_board_has_its_picture(file: Path) -> None:
    """Of the grid that the board has now: `make pictures` draws them anew."""
    picture = IMAGES / f"{file.stem}.png"
    assert picture.stat().st_size < MOST_BYTES
    with Image.open(picture) as image:
        assert image.size == size(json.loads(file.read_text("utf-8")))
        assert image.width == WIDTH


def test_every_picture_is_of_a_board() -> None:
    drawn = {file.stem for file in IMAGES.iterdir() if not file.stem.startswith("trace-")}  # those are of how-tos
    assert drawn == {file.stem for file in BOARDS}


@pytest.mark.parametrize("page", ["README.md", "dashboards/README.md"])
def test_the_pages_say_what_the_pictures_are(page: str) -> None:
    text = (ROOT / page).read_text("utf-8")
    places = [match.end() for match in re.finditer(r"!\[[^\]]+\]\([^)]*docs/images/[\w-]+\.png\)", text)]
    assert places
    for place in places:
        assert CAPTION in text[place : place + 200].replace("`", "")
    if page.startswith("dashboards"):
        assert set(re.findall(r"docs/images/([\w-]+)\.png", text)) == {file.stem for file in BOARDS}


def test_what_is_run_for_them_is_the_stacks() -> None:
    config = prometheus_config("127.0.0.1:9999", 2.5)
    assert [job["static_configs"] for job in config["scrape_configs"]] == [[{"targets": ["127.0.0.1:9999"]}]]
    assert config["global"] == {"scrape_interval": "2500ms", "evaluation_interval": "2500ms"}
    assert all(Path(file).is_file() for file in config["rule_files"])
    assert len(config["rule_files"]) == 2


def test_the_script_draws_what_runs(tmp_path: Path) -> None:
    """What it starts is scraped, with exemplars, and its rules are evaluated; and all boards are drawn of it."""
    (tmp_path / "stack").mkdir()
    with running(tmp_path / "stack", scrape_s=1.0, streams=4) as url:
        get = over_http(url)

        def has_exemplars() -> Any:
            query = "gen_ai_client_operation_time_to_first_chunk_seconds_bucket"
            return get("query_exemplars", {"query": query, "start": "0", "end": str(time.time())})

        until(has_exemplars, "an exemplar")
        groups = get("rules", {})["groups"]
        assert {Path(group["file"]).name for group in groups} == {"streamgauge.rules.yml", "streamgauge.alerts.yml"}
        done = subprocess.run(
            [sys.executable, str(SCRIPT), "--prometheus", url, "--minutes", "0.5", "--scrape", "1",
             "--output", str(tmp_path / "images")],
            capture_output=True, text=True, timeout=50,
        )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert {file.stem for file in (tmp_path / "images").iterdir()} == {file.stem for file in BOARDS}
    for file in BOARDS:
        idle = drawn(json.loads(file.read_text("utf-8")), Canned(empty=True), WINDOW)
        assert len((tmp_path / "images" / f"{file.stem}.png").read_bytes()) > len(idle)
