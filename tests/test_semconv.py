"""Names are API: `golden/telemetry.json` lists all that is emitted. A rename fails here, and is a breaking change with
a line in the changelog. To write the file anew: `python -m pytest tests/test_semconv.py --update-golden`."""

from __future__ import annotations

import ast
import importlib
import inspect
import json
import re
import runpy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from opentelemetry import context as otel_context
from opentelemetry.semconv._incubating.attributes import (
    gen_ai_attributes,
    jsonrpc_attributes,
    mcp_attributes,
    process_attributes,
)
from opentelemetry.semconv._incubating.metrics import gen_ai_metrics
from opentelemetry.semconv.attributes import error_attributes, http_attributes, server_attributes, url_attributes

import streamgauge
from streamgauge import dialects, recorder, semconv, signals, testing
from streamgauge.capture import read
from streamgauge.dialects import _aiecs_reasoning
from streamgauge.recorder.context import _OWN
from streamgauge.replay import replay
from streamgauge.semconv import HISTOGRAM, Metric
from streamgauge.wire import Request

TESTS = Path(__file__).parent
GOLDEN = TESTS / "golden" / "telemetry.json"
CAPTURES = sorted((TESTS / "captures").glob("*.ndjson"))
SOURCES = sorted((Path(streamgauge.__file__).parent / "dialects").glob("*.py"))
WORDS = runpy.run_path(str(TESTS.parent / "scripts" / "telemetry_words.py"))["ATTRIBUTES"]
BEYOND_SEMCONV = {f"{signals.USAGE_LIMIT}.scope": "string", f"{signals.USAGE_LIMIT}.reset_at": "string"}
"""Attributes of one dialect's own span event."""
PROFILES = list(semconv.PROFILES.values())
_LIST = re.compile(r"\[[^\[\]{}]*\]")


# The golden file --------------------------------------------------------------------------------------------------


def noted_names() -> Iterator[tuple[Path, str, ast.expr]]:
    """(file, function, expression) of each span event's name in the dialects' source."""
    for file in SOURCES:
        for function in ast.walk(ast.parse(file.read_text("utf-8"))):
            if not isinstance(function, ast.FunctionDef):
                continue
            for node in ast.walk(function):
                if isinstance(node, ast.Call) and ast.unparse(node.func) == "Noted":
                    given = [*node.args[3:], *(each.value for each in node.keywords if each.arg == "name")]
                    yield from ((file, function.name, name) for name in given)


def constants(file: Path, name: ast.expr) -> list[str] | None:
    """What the expression can be; None where that is not written there."""
    if isinstance(name, ast.IfExp):
        arms = [constants(file, name.body), constants(file, name.orelse)]
        return [each for arm in arms for each in arm or ()] if None not in arms else None
    if isinstance(name, ast.Constant):
        return [str(name.value)]
    module = importlib.import_module(f"streamgauge.dialects.{file.stem}")
    return [getattr(module, name.id)] if isinstance(name, ast.Name) and hasattr(module, name.id) else None


def event_names() -> set[str]:
    found = {name for file, _, node in noted_names() for name in constants(file, node) or ()}
    found |= {value for name, value in vars(signals).items() if name.startswith(("PERSON_", "TOOL_")) and "." in value}
    # Of the functions that are given the name; what `requested` is given is one of the signals'.
    jaf = next(file for file in SOURCES if file.name == "jaf_run.py")
    found |= {
        str(node.args[0].value)
        for node in ast.walk(ast.parse(jaf.read_text("utf-8")))
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "_stage" and isinstance(node.args[0], ast.Constant)
    }
    return found | set(_aiecs_reasoning.REASONING_STEPS.values())


def metric(each: Metric) -> dict[str, Any]:
    common = semconv.COMMON_LABELS if each.common else ()
    told: dict[str, Any] = {"kind": each.kind, "unit": each.unit, "labels": [*common, *each.labels]}
    return {**told, "buckets": list(each.buckets)} if each.kind == HISTOGRAM else told


def telemetry() -> dict[str, Any]:
    """All names, as the code has them."""
    types = {name: words[0].partition(",")[0] for name, words in WORDS.items()} | BEYOND_SEMCONV
    return {
        "spans": {operation: {"name": name, "kind": kind} for operation, (name, kind) in semconv.SPANS.items()},
        "events": sorted(event_names()),
        "attributes": dict(sorted(types.items())),
        "content": sorted(semconv.CONTENT_ATTRIBUTES),
        "profiles": {
            profile.name: {
                "schema_url": profile.schema_url,
                "renamed": dict(profile.renamed),
                "without": {operation: sorted(names) for operation, names in profile.without.items()},
                "tokens": {
                    kind: {each.name: list(labels) for each, labels in metrics}
                    for kind, metrics in profile.tokens.items()
                },
                "metrics": {each.name: metric(each) for each in sorted(profile.metrics, key=lambda each: each.name)},
            }
            for profile in PROFILES
        },
    }


@pytest.fixture(scope="module")
def golden(request: pytest.FixtureRequest) -> dict[str, Any]:
    if request.config.getoption("--update-golden"):
        text = json.dumps(telemetry(), indent=1, ensure_ascii=False)
        # A list of plain values stays on one line.
        GOLDEN.write_text(_LIST.sub(lambda found: f"[{' '.join(found[0][1:-1].split())}]", text) + "\n", "utf-8")
    found: dict[str, Any] = json.loads(GOLDEN.read_text("utf-8"))
    return found


def test_nothing_is_renamed(golden: dict[str, Any]) -> None:
    assert telemetry() == golden


def test_every_name_of_a_span_event_is_written_out() -> None:
    """So that the golden file has it: but for three functions that are given the name."""
    assert {(file.name, function) for file, function, node in noted_names() if constants(file, node) is None} == {
        ("_aiecs_reasoning.py", "reasoned"),
        ("_answers.py", "requested"),
        ("jaf_run.py", "_stage"),
    }


def test_every_attribute_has_a_type(golden: dict[str, Any]) -> None:
    names = {
        value for name, value in vars(semconv).items() if name.isupper() and isinstance(value, str) and "." in value
    }
    only_labels = {semconv.GEN_AI_TOKEN_TYPE, semconv.GEN_AI_TOKEN_MODALITY}
    assert set(golden["attributes"]) == (names - only_labels) | set(BEYOND_SEMCONV)
    assert set(golden["attributes"].values()) == {"string", "string[]", "int", "double", "boolean"}


def test_names_are_in_one_form(golden: dict[str, Any]) -> None:
    form = re.compile(r"[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)+")
    metrics = {name for profile in golden["profiles"].values() for name in profile["metrics"]}
    assert [name for name in sorted({*golden["attributes"], *metrics}) if not form.fullmatch(name)] == []
    spoken = {"invoke_agent", "chat", "generate_content", "text_completion", "execute_tool", "rpc", "step", "retry"}
    spoken.add("session")
    assert set(golden["spans"]) == spoken
    assert all(span["name"].startswith(f"{operation} {{") for operation, span in golden["spans"].items())


# What is really emitted -------------------------------------------------------------------------------------------

KINDS = {str: "string", bool: "boolean", int: "int", float: "double", list: "string[]"}


def kind_of(value: Any) -> str:
    return KINDS[list if isinstance(value, tuple) else type(value)]


@pytest.mark.parametrize("profile", ["released", "dev"])
def test_what_the_captures_give_is_listed(golden: dict[str, Any], profile: str) -> None:
    names = golden["profiles"][profile]
    types = {names["renamed"].get(name, name): kind for name, kind in golden["attributes"].items()}
    with testing.recording(profile=profile, capture_content="SPAN_ONLY") as seen:
        for path in CAPTURES:
            replay(read(path), seen.pipeline)
        spans, families = seen.spans, seen.families
    attributes, events, kinds = set(), set(), set()
    for span in spans:
        operation = span["name"].partition(" ")[0]
        kinds.add((operation, span["kind"]))
        hidden = names["without"].get(operation, ())
        assert [name for name in hidden if name in span["attributes"]] == []
        events.update(event["name"] for event in span["events"])
        for found in (span["attributes"], *(event["attributes"] for event in span["events"])):
            attributes.update((name, kind_of(value)) for name, value in found.items())
    assert sorted(attributes - set(types.items())) == []
    assert events <= set(golden["events"])
    listed = {(operation, span["kind"]) for operation, span in golden["spans"].items()}
    assert kinds | {("text_completion", "CLIENT")} == listed  # that one is a model call like the others
    assert set(families) == set(names["metrics"])
    for name, family in families.items():
        for series in family.series:
            assert set(family.named(series)) <= set(names["metrics"][name]["labels"])


def test_the_event_of_a_usage_limit_is_listed(golden: dict[str, Any]) -> None:
    limit = {"type": "usage_limit_detected", "scope": "weekly", "reset_at": "2026-01-01T00:00:00Z"}
    with testing.recording() as seen:
        tap = seen.pipeline.open(Request(dialect="zag"))
        for event in ({"type": "init", "model": "m"}, {"type": "turn_start"}, limit):
            tap.push(event)
        tap.end()
        (event,) = (event for span in seen.spans for event in span["events"])
    assert event["name"] in golden["events"]
    assert {name: kind_of(value) for name, value in event["attributes"].items()} == BEYOND_SEMCONV


# Drift from the conventions' own package --------------------------------------------------------------------------

UNPUBLISHED = {
    "gen_ai.token.modality": "the dev profile's",
    "gen_ai.request.reasoning.level": "in semantic-conventions-genai at 024a4f94, the inference span's attributes",
    "gen_ai.client.inference.": "the dev profile's",
    "gen_ai.invoke_agent.": "in util-genai as text",
    "gen_ai.execute_tool.": "in util-genai as text",
}
"""Beginnings of names that the package does not have."""


def published(module: Any) -> set[str]:
    return {value for name, value in vars(module).items() if name.isupper() and isinstance(value, str)}


def test_attributes_are_spelled_as_in_the_conventions() -> None:
    ours = {value for name, value in vars(semconv).items() if name.startswith("GEN_AI_")}
    theirs = published(gen_ai_attributes)
    assert len(ours & theirs) >= 25
    assert [name for name in sorted(ours - theirs) if name not in UNPUBLISHED] == []
    assert [name for name in UNPUBLISHED if name in theirs] == [], "the package has it now"
    assert error_attributes.ErrorTypeValues.OTHER.value == semconv.ERROR_TYPE_OTHER


OTHERS = {
    "ERROR_TYPE": error_attributes,
    "HTTP_REQUEST_METHOD": http_attributes,
    "HTTP_REQUEST_RESEND_COUNT": http_attributes,
    "HTTP_RESPONSE_STATUS_CODE": http_attributes,
    "JSONRPC_REQUEST_ID": jsonrpc_attributes,
    "MCP_METHOD_NAME": mcp_attributes,
    "PROCESS_EXIT_CODE": process_attributes,
    "SERVER_ADDRESS": server_attributes,
    "SERVER_PORT": server_attributes,
    "URL_PATH": url_attributes,
}
"""Names of other conventions than the GenAI ones."""


def test_names_of_other_conventions_are_spelled_as_there() -> None:
    assert {name: getattr(semconv, name) for name in OTHERS} == {
        name: getattr(module, name) for name, module in OTHERS.items()
    }
    of_none = {
        name
        for name, value in vars(semconv).items()
        if name.isupper() and isinstance(value, str) and "." in value
        and not value.startswith(("gen_ai.", "streamgauge."))
    }  # fmt: skip
    assert of_none == set(OTHERS)


def test_operations_and_token_types_are_values_of_the_conventions() -> None:
    operations = {each.value for each in gen_ai_attributes.GenAiOperationNameValues}
    assert {*semconv.INFERENCE, semconv.INVOKE_AGENT, semconv.EXECUTE_TOOL} <= operations
    assert operations.isdisjoint({semconv.STEP, semconv.RETRY, semconv.SESSION}), "private no more"
    assert {each.value for each in gen_ai_attributes.GenAiTokenTypeValues} & set(semconv.TOKEN_TYPES) == {
        "input",
        "output",
    }


class Instruments:
    """A meter that notes what the conventions' package creates."""

    def __init__(self) -> None:
        self.made: dict[str, tuple[str, str]] = {}

    def create_histogram(self, name: str, unit: str = "", **_: Any) -> None:
        self.made[name] = (HISTOGRAM, unit)


def test_metrics_are_those_of_the_conventions() -> None:
    meter = Instruments()
    for name, create in inspect.getmembers(gen_ai_metrics, inspect.isfunction):
        if name.startswith("create_gen_ai_"):
            create(meter)
    assert set(meter.made) == published(gen_ai_metrics)
    ours = {
        each.name: (each.kind, each.unit) for profile in PROFILES for each in profile.metrics if "gen_ai" in each.name
    }
    alike = ours.keys() & meter.made.keys()
    assert len(alike) == 7
    assert {name: ours[name] for name in alike} == {name: meter.made[name] for name in alike}
    assert [name for name in ours.keys() - alike if not name.startswith(tuple(UNPUBLISHED))] == []


# Buckets ----------------------------------------------------------------------------------------------------------

D14 = {0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92}
T14 = {1, 4, 16, 64, 256, 1024, 4096, 16384, 65536, 262144, 1048576, 4194304, 16777216, 67108864}
A13 = {0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 25.6, 51.2, 102.4, 204.8, 409.6}
C8 = {1, 2, 4, 8, 16, 32, 64, 128}
F16 = {0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10}
P13 = {0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1, 2.5}
SLO = {0.25, 0.5, 1, 2, 5, 10}
BOUNDS = {
    "gen_ai.client.operation.duration": D14,
    "gen_ai.client.operation.time_to_first_chunk": D14,
    "gen_ai.client.operation.time_per_output_chunk": D14,
    "gen_ai.client.token.usage": T14,
    "gen_ai.client.inference.duration": D14,
    "gen_ai.client.inference.time_to_first_chunk": D14,
    "gen_ai.client.inference.time_per_output_chunk": D14,
    "gen_ai.client.inference.operation.input_tokens": T14,
    "gen_ai.client.inference.operation.output_tokens": T14,
    "gen_ai.invoke_agent.duration": A13,
    "gen_ai.invoke_agent.inference_calls": C8,
    "gen_ai.invoke_agent.tool_calls": C8,
    "gen_ai.execute_tool.duration": D14,
    "gen_ai.server.request.duration": D14,
    "gen_ai.server.time_to_first_token": F16,
    "gen_ai.server.time_per_output_token": P13,
}
"""The conventions' own, written out."""
HISTOGRAMS = {each.name: each for profile in PROFILES for each in profile.metrics if each.kind == HISTOGRAM}


def test_the_conventions_histograms_are_all_held_to_their_bounds() -> None:
    assert {name for name in HISTOGRAMS if name.startswith("gen_ai.")} == set(BOUNDS)


@pytest.mark.parametrize("name", HISTOGRAMS)
def test_buckets_have_the_bounds_that_are_needed(name: str) -> None:
    bounds = HISTOGRAMS[name].buckets
    assert list(bounds) == sorted(set(bounds))
    assert sorted(BOUNDS.get(name, set()) - set(bounds)) == []
    if HISTOGRAMS[name].unit == "s":
        assert sorted(SLO - set(bounds)) == []
    assert bounds[0] > 0
    assert len(bounds) <= 32, "each is a series of its own"


def test_only_histograms_have_buckets() -> None:
    assert [
        each.name for profile in PROFILES for each in profile.metrics if each.kind != HISTOGRAM and each.buckets
    ] == []


def test_every_dialects_granularity_and_provider_are_words() -> None:
    providers = {each.value for each in gen_ai_attributes.GenAiProviderNameValues}
    for name in dialects.BUILT_IN:
        kind = dialects.find(name)
        assert kind is not None
        assert kind.provider_name in {"", "ollama", *providers}, "the conventions allow others where they list none"


# The current context ----------------------------------------------------------------------------------------------


def test_the_variable_of_the_current_context_is_found() -> None:
    """It is in a private place of OpenTelemetry's: were that moved, the agent's own spans would lose their parent."""
    variable = recorder.ambient()
    assert variable is not _OWN
    context = otel_context.set_value("streamgauge-test", 1)
    token = variable.set(context)
    try:
        assert otel_context.get_current() == context
    finally:
        variable.reset(token)
    attached = otel_context.attach(context)
    try:
        assert variable.get() == context
    finally:
        otel_context.detach(attached)


def test_without_it_a_variable_of_our_own_stands_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(otel_context, "_RUNTIME_CONTEXT", object())
    assert inspect.unwrap(recorder.ambient)() is _OWN  # it is kept once it is found
