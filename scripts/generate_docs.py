"""Writes the generated parts of the documentation from the program itself.

    python scripts/generate_docs.py           write them
    python scripts/generate_docs.py --check   exit with 1 where a page differs from what would be written

A part stands between `<!-- generated: NAME -->` and `<!-- /generated -->`; what is around it is written by hand.
"""

from __future__ import annotations

import argparse
import ast
import inspect
import re
import sys
from collections.abc import Callable, Iterable
from dataclasses import fields, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

from telemetry_words import ATTRIBUTES, LABELS

from streamgauge import dialects, semconv, testing
from streamgauge.capture import read
from streamgauge.proxy import config
from streamgauge.proxy.routes import ROUTE_LIMITS
from streamgauge.replay import replay
from streamgauge.settings import Settings
from streamgauge.telemetry.prometheus import family_name, render
from streamgauge.transports.http.limits import Limits

ROOT = Path(__file__).resolve().parent.parent
EXAMPLE = ROOT / "tests" / "captures" / "shipit-tool-retry.ndjson"
_PART = re.compile(r"(<!-- generated: ([\w-]+) -->\n)(.*?)(<!-- /generated -->)", re.DOTALL)
_BEGIN = re.compile(r"<!-- generated: ([\w-]+) -->")


class PageError(Exception):
    """A page whose markers are not sound."""


def table(head: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    names = list(head)
    lines = [names, ["---"] * len(names), *([str(cell).replace("|", "\\|") for cell in row] for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def code(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


# Telemetry ----------------------------------------------------------------------------------------------------

_BUCKETS = {
    semconv.SECONDS: "durations",
    semconv.GAP_SECONDS: "gaps",
    semconv.FIRST_TOKEN_SECONDS: "first tokens",
    semconv.PER_TOKEN_SECONDS: "tokens' times",
    semconv.AGENT_SECONDS: "agent runs",
    semconv.TOKENS: "tokens",
    semconv.CALLS: "calls",
    semconv.RATE: "rates",
}
_NO_SERIES: set[semconv.Metric] = set()
"""Declared for a transport that there is not yet."""


def spans() -> str:
    return table(
        ("operation", "span name", "kind"),
        ((f"`{operation}`", f"`{name}`", kind) for operation, (name, kind) in semconv.SPANS.items()),
    )


def attributes() -> str:
    def names(name: str) -> str:
        return f"`{name}`" + (" (content)" if name in semconv.CONTENT_ATTRIBUTES else "")

    rows = [(names(name), kind, on, meaning) for name, (kind, on, meaning) in ATTRIBUTES.items()]
    return table(("attribute", "type", "on spans", "meaning"), rows)


def profiles() -> str:
    released, dev = semconv.RELEASED, semconv.DEV
    rows = [("schema URL", f"`{released.schema_url}`", f"`{dev.schema_url}`")]
    rows += [(f"attribute `{name}`", "as it is", f"`{other}`") for name, other in dev.renamed.items()]
    rows += [(f"on `{operation}` spans", code(sorted(names)), "left out") for operation, names in dev.without.items()]
    for what, old, new in (
        ("duration of a model call", released.inference_duration, dev.inference_duration),
        ("first token", released.first_chunk, dev.first_chunk),
        ("gap between chunks", released.per_chunk, dev.per_chunk),
    ):
        rows.append((what, f"`{old.name}`", f"`{new.name}`"))
    for kind in semconv.TOKEN_TYPES:
        old_names = code(metric.name for metric, _ in released.tokens[kind])
        rows.append((f"{kind} tokens", old_names, code(metric.name for metric, _ in dev.tokens[kind])))
    return table(("", "`released`", "`dev`"), rows)


def metrics() -> str:
    kept = semconv.RELEASED.metrics
    rows = []
    for metric in (*kept, *(metric for metric in semconv.DEV.metrics if metric not in kept)):
        of = [profile.name for profile in semconv.PROFILES.values() if metric in profile.metrics]
        name, _ = family_name(metric)
        page = f"{name}_total" if metric.kind == semconv.COUNTER else name
        only = "" if len(of) > 1 else f" Profile `{of[0]}` only."
        none = " No series yet: for the planned HTTP proxy." if metric in _NO_SERIES else ""
        rows.append(
            (
                f"`{metric.name}`<br>`{page}`",
                f"{metric.kind}, `{metric.unit}`",
                code(metric.labels) or "-",
                _BUCKETS.get(metric.buckets, "-"),
                f"{metric.description}{only}{none}" + ("" if metric.common else " Without the common labels."),
            )
        )
    return table(("metric, and its name on `/metrics`", "kind, unit", "labels beyond the common", "buckets", ""), rows)


def labels() -> str:
    common = set(semconv.COMMON_LABELS)
    rows = [(f"`{name}`", "yes" if name in common else "", meaning) for name, meaning in LABELS.items()]
    return table(("label", "common", "values"), rows)


def buckets() -> str:
    rows = [(name, ", ".join(f"{bound:.10g}" for bound in bounds)) for bounds, name in _BUCKETS.items()]
    return table(("buckets", "bounds"), rows)


# Dialects and settings ----------------------------------------------------------------------------------------


def _dialects() -> list[Any]:
    return [dialects.find(name) for name in dialects.BUILT_IN]


def dialect_table() -> str:
    rows = [
        (
            f"[`{kind.name}`](#{kind.name})",
            kind.system,
            kind.granularity,
            "yes" if kind.terminal else "no",
            kind.framing,
        )
        for kind in _dialects()
    ]
    return table(("dialect", "reads", "granularity", "terminal event", "framing of bytes"), rows)


def dialect_events() -> str:
    return "\n\n".join(
        f"### {kind.name}\n\n"
        + table(("event", "what it becomes"), ((f"`{event}`", what) for event, what in kind.events.items()))
        for kind in _dialects()
    )


def settings() -> str:
    rows = []
    for setting in fields(Settings):
        about, default = setting.metadata, setting.default
        shown = "" if default == "" else f"`{str(default).lower() if isinstance(default, bool) else default}`"
        rows.append((f"`{setting.name}`", f"`{about['variable']}`", shown, about["allowed"], about["help"]))
    return table(("setting", "variable", "default", "allowed", "what it does"), rows)


# The proxy ----------------------------------------------------------------------------------------------------


def proxy_options() -> str:
    rows = []
    for option in config.OPTIONS:
        shown = "" if option.default == "" else f"`{option.default}`"
        flag = f"--{option.name.removesuffix('_s').replace('_', '-')}"
        about = option.metadata
        names = (f"`{option.name}`", f"`{flag}`", f"`{config.variable(option.name)}`")
        rows.append((*names, shown, about["allowed"], about["help"]))
    return table(("key in `[proxy]`", "flag", "variable", "default", "allowed", "what it is"), rows)


def proxy_limits() -> str:
    """From the class itself: what stands below each field."""
    (made,) = (node for node in ast.parse(inspect.getsource(Limits)).body if isinstance(node, ast.ClassDef))
    below = dict(pairwise(made.body))
    rows = []
    for node in made.body:
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            name, said = node.target.id, below[node]
            assert isinstance(said, ast.Expr), f"{name} has no docstring"
            assert isinstance(said.value, ast.Constant)
            text = " ".join(str(said.value.value).split())
            rows.append((f"`{name}`", f"`{getattr(Limits(), name)}`", "yes" if name in ROUTE_LIMITS else "", text))
    return table(("limit", "default", "of a route", "what it is, and why"), rows)


# The example --------------------------------------------------------------------------------------------------

_SHOWN = (
    (semconv.STREAMGAUGE_OUTCOME, "{}"),
    (semconv.GEN_AI_RESPONSE_TIME_TO_FIRST_CHUNK, "first token {:.1f} ms"),
    (semconv.GEN_AI_USAGE_INPUT_TOKENS, "{} tokens in"),
    (semconv.GEN_AI_USAGE_OUTPUT_TOKENS, "{} tokens out"),
    (semconv.STREAMGAUGE_RETRY_ATTEMPT, "attempt {}"),
)
_LINES = (
    "streamgauge_streams_total{", "streamgauge_retries_total{", "gen_ai_client_token_usage_sum{",
    "gen_ai_client_operation_time_to_first_chunk_seconds_sum{",
)  # fmt: skip
_LEFT_OUT = ("streamgauge_transport", "gen_ai_provider_name", "gen_ai_request_model", "streamgauge_stream_granularity")


def example() -> str:
    """A recorded stream once more: its spans, and some lines of its `/metrics`, with their telling labels."""
    capture = read(EXAMPLE)
    known = replace(capture.request, agent_name="support", model="gpt-4o", provider_name="openai")
    with testing.recording() as seen:
        replay(replace(capture, request=known), seen.pipeline)
        page = render(seen.pipeline.aggregates)[0].decode()
        spans = sorted(seen.spans, key=lambda span: span["start"])
        tree = "\n".join(_branch(spans, None, 0))
    found = [_short(line) for start in _LINES for line in page.splitlines() if line.startswith(start)]
    return "```text\n" + tree + "\n```\n\n```text\n" + "\n".join(found) + "\n```"


def _branch(spans: list[dict[str, Any]], parent: str | None, depth: int) -> Iterable[str]:
    for span in spans:
        if span["parent_id"] == parent:
            given = span["attributes"]
            told = [f"{(span['end'] - span['start']) / 1e6:.1f} ms"]
            for name, form in _SHOWN:
                if name in given:
                    value = given[name] * 1e3 if isinstance(given[name], float) else given[name]
                    told.append(form.format(value))
            yield f"{'  ' * depth + span['name']:<28} {', '.join(told)}"
            yield from _branch(spans, span["span_id"], depth + 1)


def _short(line: str) -> str:
    name, _, rest = line.partition("{")
    inside, _, value = rest.rpartition("} ")
    kept = [
        pair
        for pair in re.findall(r'\w+="[^"]*"', inside)
        if not pair.endswith('=""') and not pair.startswith(_LEFT_OUT)
    ]
    return f"{name}{{{','.join(kept)}}} {value}"


# Pages --------------------------------------------------------------------------------------------------------

PARTS: dict[str, Callable[[], str]] = {
    "example": example, "spans": spans, "attributes": attributes, "profiles": profiles, "metrics": metrics,
    "labels": labels, "buckets": buckets, "dialects": dialect_table, "dialect-events": dialect_events,
    "settings": settings, "proxy-options": proxy_options, "proxy-limits": proxy_limits,
}  # fmt: skip


def pages() -> list[Path]:
    return [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def written(page: Path, text: str) -> tuple[str, set[str]]:
    """(the page as it should be, the names of its parts)."""
    names = set(_BEGIN.findall(text))
    if len(_BEGIN.findall(text)) != len(_PART.findall(text)):
        raise PageError(f"{page.relative_to(ROOT)}: a generated part has no end: {sorted(names)}")
    unknown = names - PARTS.keys()
    if unknown:
        raise PageError(f"{page.relative_to(ROOT)}: there is no part {sorted(unknown)}; known are {sorted(PARTS)}")
    return _PART.sub(lambda match: f"{match[1]}\n{PARTS[match[2]]()}\n\n{match[4]}", text), names


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Write the generated parts of the documentation.")
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 where a page differs")
    options = parser.parse_args(arguments)
    differing: list[str] = []
    used: set[str] = set()
    try:
        for page in pages():
            text = page.read_text("utf-8")
            new, names = written(page, text)
            used |= names
            if new != text:
                differing.append(str(page.relative_to(ROOT)))
                if not options.check:
                    page.write_text(new, "utf-8")
        if used != PARTS.keys():
            raise PageError(f"no page has the generated part {sorted(PARTS.keys() - used)}")
    except PageError as error:
        print(error, file=sys.stderr)
        return 1
    if options.check and differing:
        print(f"not as generated: {', '.join(differing)}. Run: make docs", file=sys.stderr)
        return 1
    print(f"{len(used)} generated parts, {len(differing)} pages {'differ' if options.check else 'written'}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
