"""Settings: a flag wins over the environment, that over the file, that over the default; a mistake is told with its
place and with what is allowed."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, fields
from pathlib import Path
from typing import Any

import pytest

from streamgauge.errors import SettingsError, UsageError
from streamgauge.settings import FILE, Settings, load

KNOWN = {setting.name: setting for setting in fields(Settings)}
NAMES = ", ".join(sorted(KNOWN))


@pytest.fixture(autouse=True)
def _empty_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)


TABLE: dict[str, tuple[dict[str, Any], list[str]]] = {
    "service_name": ({"shop": "shop", "7": "7", " shop ": "shop"}, []),
    "disabled": ({"true": True, "TRUE": True, "1": True, "false": False, "0": False}, ["yes", "2", "on"]),
    "traces_exporter": ({"otlp": "otlp", "none": "none", "my-own": "my-own"}, []),
    "metrics_exporter": ({"otlp,prometheus": "otlp,prometheus"}, []),
    "metric_export_interval_ms": ({"100": 100, "60000": 60_000}, ["99", "-1", "1.5", "soon"]),
    "exemplar_filter": ({"always_on": "always_on", "always_off": "always_off"}, ["on", "ALWAYS_ON"]),
    "metrics_host": ({"0.0.0.0": "0.0.0.0", "::1": "::1"}, []),
    "metrics_port": ({"0": 0, "65535": 65_535}, ["-1", "65536", "http", "80.0"]),
    "capture_content": (
        {
            word: word
            for word in ("NO_CONTENT", "SPAN_ONLY", "EVENT_ONLY", "SPAN_AND_EVENT", "true", "False", "span_only")
        },
        ["yes", "SPAN"],
    ),
    "content_max_bytes": ({"0": 0, "16": 16}, ["-1", "1k", "1.0"]),
    "profile": ({"released": "released", "dev": "dev"}, ["Dev", "latest"]),
    "stall_after_s": ({"0.5": 0.5, "2": 2.0, "1e1": 10.0}, ["0", "-1", "inf", "nan", "soon"]),
    "label_cap": ({"1": 1, "1000": 1_000}, ["0", "many"]),
    "intended_ends_are_errors": ({"true": True, "0": False}, ["maybe"]),
    "chunk_meter": ({"True": True, "FALSE": False}, ["never"]),
    "capture_dir": ({"/var/captures": "/var/captures", "captures": "captures"}, []),
    "capture_max_bytes": ({"1024": 1_024}, ["1023", "64MiB"]),
    "shutdown_timeout_s": ({"0": 0.0, "2.5": 2.5}, ["-0.1", "inf", "never"]),
}
"""Setting: texts that it takes, each with its value; texts that it does not take."""
GOOD = [(name, text, value) for name, (good, _) in TABLE.items() for text, value in good.items()]
BAD = [(name, text) for name, (_, bad) in TABLE.items() for text in bad]


def test_the_table_has_every_setting() -> None:
    assert set(TABLE) == set(KNOWN)


def test_every_setting_says_what_it_is() -> None:
    variables = [setting.metadata["variable"] for setting in KNOWN.values()]
    assert len(set(variables)) == len(variables)
    assert [each for each in variables if not each.startswith(("OTEL_", "STREAMGAUGE_"))] == []
    for setting in KNOWN.values():
        assert setting.metadata["help"].endswith(".")
        assert setting.metadata["allowed"]
        assert setting.metadata["check"](setting.default), "the default is allowed"


@pytest.mark.parametrize(("name", "text", "value"), GOOD)
def test_a_variable_is_read(name: str, text: str, value: Any) -> None:
    found = getattr(load(environ={KNOWN[name].metadata["variable"]: text}), name)
    assert (found, type(found)) == (value, type(KNOWN[name].default))


@pytest.mark.parametrize(("name", "text"), BAD)
def test_a_wrong_variable_is_told(name: str, text: str) -> None:
    variable = KNOWN[name].metadata["variable"]
    with pytest.raises(SettingsError) as raised:
        load(environ={variable: text})
    assert raised.value.name == variable
    assert str(raised.value) == f"{variable}: {text!r} is not allowed; it takes {KNOWN[name].metadata['allowed']}"
    assert isinstance(raised.value, UsageError)


@pytest.mark.parametrize(("name", "text"), BAD)
def test_a_wrong_flag_is_told(name: str, text: str) -> None:
    with pytest.raises(SettingsError) as raised:
        load({name: text}, environ={})
    assert str(raised.value) == f"{name}: {text!r} is not allowed; it takes {KNOWN[name].metadata['allowed']}"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("metrics_port", True),
        ("metrics_port", 80.0),
        ("metrics_port", [80]),
        ("stall_after_s", False),
        ("stall_after_s", float("nan")),
        ("disabled", 2),
        ("disabled", []),
        ("service_name", ["shop"]),
        ("capture_dir", b"captures"),
        ("traces_exporter", ""),
        ("metrics_exporter", "  "),
        ("label_cap", object),
        ("stall_after_s", 10**400),
        ("service_name", True),
    ],
)
def test_a_flag_of_another_type_is_told(name: str, value: Any) -> None:
    with pytest.raises(SettingsError, match=f"^{name}: .* is not allowed; it takes "):
        load({name: value}, environ={})


def test_a_flag_is_of_its_own_type_too() -> None:
    found = load({"metrics_port": 80, "stall_after_s": 3, "disabled": True, "capture_dir": Path("/x")}, environ={})
    assert (found.metrics_port, found.stall_after_s, found.disabled, found.capture_dir) == (80, 3.0, True, "/x")
    assert type(found.stall_after_s) is float


# Precedence -------------------------------------------------------------------------------------------------------

FLAG, VARIABLE, IN_FILE = {"label_cap": 3}, {"STREAMGAUGE_LABEL_CAP": "4"}, "label_cap = 5"


@pytest.mark.parametrize(
    ("flags", "environ", "text", "value"),
    [
        (FLAG, VARIABLE, IN_FILE, 3),
        (FLAG, {}, IN_FILE, 3),
        (FLAG, VARIABLE, "", 3),
        ({}, VARIABLE, IN_FILE, 4),
        ({}, {}, IN_FILE, 5),
        ({}, {}, "", 100),
        (None, {}, "", 100),
        ({"label_cap": None}, VARIABLE, IN_FILE, 4),
        ({}, {"STREAMGAUGE_LABEL_CAP": ""}, IN_FILE, 5),
        ({}, {"STREAMGAUGE_LABEL_CAP": " \t"}, IN_FILE, 5),
    ],
)
def test_precedence(
    flags: dict[str, Any] | None, environ: dict[str, str], text: str, value: int, tmp_path: Path
) -> None:
    (tmp_path / FILE).write_text(text)
    assert load(flags, environ=environ).label_cap == value


@pytest.mark.parametrize("name", KNOWN)
def test_every_setting_has_its_default_and_can_be_given_in_each_place(name: str, tmp_path: Path) -> None:
    default = KNOWN[name].default
    assert getattr(load(environ={}), name) == default == getattr(Settings(), name)
    values = [value for given, _, value in GOOD if given == name and value != default]
    value = values[0]
    assert getattr(load({name: value}, environ={}), name) == value
    (tmp_path / FILE).write_text(f"{name} = {str(value).lower() if isinstance(value, bool) else repr(value)}")
    assert getattr(load(environ={}), name) == value
    others = {each: getattr(load(environ={}), each) for each in KNOWN if each != name}
    assert others == {each: KNOWN[each].default for each in others}


def test_the_environment_is_the_processs_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STREAMGAUGE_LABEL_CAP", "9")
    assert load().label_cap == 9


def test_settings_do_not_change() -> None:
    settings = load(environ={})
    with pytest.raises(FrozenInstanceError):
        settings.label_cap = 1  # type: ignore[misc]
    assert not hasattr(settings, "__dict__")


# The file ---------------------------------------------------------------------------------------------------------


def test_the_file_may_be_elsewhere(tmp_path: Path) -> None:
    (tmp_path / FILE).write_text("label_cap = 5")
    (tmp_path / "its.toml").write_text("label_cap = 6")
    (tmp_path / "given.toml").write_text("label_cap = 7")
    environ = {"STREAMGAUGE_CONFIG": "its.toml"}
    assert load(environ=environ).label_cap == 6
    assert load(environ=environ, file=tmp_path / "given.toml").label_cap == 7
    assert load(environ={"STREAMGAUGE_CONFIG": ""}).label_cap == 5


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"label_cap = 0", "streamgauge.toml, label_cap: 0 is not allowed; it takes a whole number from 1"),
        (b"label_cap = '7 '\nstall_after_s = '1'\nlabel_cup = 1",
         f"streamgauge.toml, label_cup: there is no setting 'label_cup'; known are {NAMES}"),
        (b"[label_cap]\nx = 1", "streamgauge.toml, label_cap: {'x': 1} is not allowed; it takes a whole number from 1"),
        (b"[telemetry]\nlabel_cap = 1",
         f"streamgauge.toml, telemetry: there is no setting 'telemetry'; known are {NAMES}"),
        (b"disabled = 'yes'", "streamgauge.toml, disabled: 'yes' is not allowed; it takes true or false"),
        (b"metrics_port = true", "streamgauge.toml, metrics_port: True is not allowed; it takes 0 to 65535"),
        (b"service_name = 2026-01-01",
         "streamgauge.toml, service_name: datetime.date(2026, 1, 1) is not allowed; it takes text"),
    ],
)  # fmt: skip
def test_a_wrong_value_in_the_file_is_told(content: bytes, problem: str, tmp_path: Path) -> None:
    (tmp_path / FILE).write_bytes(content)
    with pytest.raises(SettingsError) as raised:
        load(environ={})
    assert str(raised.value) == problem


@pytest.mark.parametrize(
    ("content", "problem"), [(b"label_cap 7", "is not TOML: "), (b"service_name = '\xff'", "is not UTF-8: ")]
)
def test_a_file_that_is_none_is_told(content: bytes, problem: str, tmp_path: Path) -> None:
    (tmp_path / FILE).write_bytes(content)
    with pytest.raises(SettingsError, match=f"^streamgauge.toml: {problem}") as raised:
        load({"label_cap": 3}, environ={})
    assert raised.value.name == FILE


@pytest.mark.parametrize(("name", "reason"), [("nowhere.toml", "No such file or directory"), (".", "Is a directory")])
def test_a_file_that_was_asked_for_and_cannot_be_read_is_told(name: str, reason: str) -> None:
    for arguments in ({"environ": {"STREAMGAUGE_CONFIG": name}}, {"environ": {}, "file": name}):
        with pytest.raises(SettingsError) as raised:
            load(**arguments)  # type: ignore[arg-type]
        assert str(raised.value) == f"{name}: cannot be read: {reason}"


def test_a_flag_that_there_is_not_is_told() -> None:
    with pytest.raises(SettingsError) as raised:
        load({"label_cup": None}, environ={})
    assert str(raised.value) == f"label_cup: there is no such setting; known are {NAMES}"


# What is made of them ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("environ", "traces", "metrics"),
    [
        ({}, (), ("prometheus",)),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c"}, ("otlp",), ("prometheus", "otlp")),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://c"}, ("otlp",), ("prometheus",)),
        ({"OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": "http://c"}, (), ("prometheus", "otlp")),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": ""}, (), ("prometheus",)),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c", "OTEL_TRACES_EXPORTER": "none"}, (), ("prometheus", "otlp")),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c", "OTEL_METRICS_EXPORTER": "console"}, ("otlp",), ("console",)),
        ({"OTEL_TRACES_EXPORTER": "otlp, console,,none"}, ("otlp", "console"), ("prometheus",)),
        ({"OTEL_METRICS_EXPORTER": "none"}, (), ()),
    ],
)
def test_exporters(environ: dict[str, str], traces: tuple[str, ...], metrics: tuple[str, ...]) -> None:
    settings = load(environ=environ)
    assert (settings.exporters("traces"), settings.exporters("metrics")) == (traces, metrics)


def test_an_exporter_in_the_file_wins_over_the_default_that_an_endpoint_makes(tmp_path: Path) -> None:
    (tmp_path / FILE).write_text("traces_exporter = 'console'")
    assert load(environ={"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c"}).exporters("traces") == ("console",)


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("NO_CONTENT", False), ("EVENT_ONLY", False), ("false", False),
        ("SPAN_ONLY", True), ("SPAN_AND_EVENT", True), ("true", True), ("span_only", True),
    ],
)  # fmt: skip
def test_whether_spans_have_content(given: str, kept: bool) -> None:
    assert load({"capture_content": given}, environ={}).spans_have_content is kept
