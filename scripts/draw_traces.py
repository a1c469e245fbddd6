"""Draw the trace of one captured run of each command-line agent, for its how-to: docs/images/trace-*.png.

    python scripts/draw_traces.py

Each is a capture of the demo's, replayed; so what is drawn is what is recorded.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot

from streamgauge import capture, testing
from streamgauge.replay import replay

ROOT = Path(__file__).parent.parent
DEMO = ROOT / "src" / "streamgauge" / "demo"
IMAGES = ROOT / "docs" / "images"
SHOWN = {
    "claude-code": "claude-code-subagent",
    "codex": "codex-tools",
    "gemini-cli": "gemini-cli-tools",
    "opencode": "opencode-tools",
    "copilot-cli": "copilot-cli-subagent",
    "acp": "acp-two-sessions",
    "mcp-stdio": "mcp-stdio-session",
    "zag-wire": "zag_wire-three-turns",
}
"""How-to: the capture that it shows."""
COLORS = {
    "session": "#9aa5b1",
    "invoke_agent": "#3b6fb6",
    "chat": "#2e9e6b",
    "execute_tool": "#d98a1f",
    "step": "#8e7cc3",
    "rpc": "#5aa9b8",
    "retry": "#c0504d",
}
FAILED = "#b3261e"


def spans(name: str) -> list[dict[str, Any]]:
    with testing.recording() as seen:
        replay(capture.read(DEMO / f"{name}.ndjson"), seen.pipeline)
        return seen.spans


def rows(found: list[dict[str, Any]]) -> list[tuple[int, dict[str, Any]]]:
    """(depth, span), each below its parent, in the order of their starts."""
    ordered = sorted(found, key=lambda span: (span["start"], -span["end"]))
    known = {span["span_id"] for span in ordered}
    listed: list[tuple[int, dict[str, Any]]] = []

    def add(parent: str | None, depth: int) -> None:
        for span in ordered:
            if (span["parent_id"] if span["parent_id"] in known else None) == parent:
                listed.append((depth, span))
                add(span["span_id"], depth + 1)

    add(None, 0)
    return listed


def draw(title: str, found: list[dict[str, Any]], file: Path) -> None:
    listed = rows(found)
    zero = min(span["start"] for _, span in listed)
    whole = max(span["end"] for _, span in listed) - zero
    figure, axes = pyplot.subplots(figsize=(10, 0.9 + 0.3 * len(listed)), dpi=110)
    for row, (_, span) in enumerate(listed):
        start, took = (span["start"] - zero) / 1e9, (span["end"] - span["start"]) / 1e9
        color = COLORS.get(span["name"].partition(" ")[0], "#777777")
        axes.barh(row, max(took, whole / 1e9 / 400), left=start, height=0.62, color=color)
        outcome = span["attributes"].get("streamgauge.outcome", "")
        told = f"{took:.2f} s" if outcome in ("", "completed") else f"{took:.2f} s, {outcome}"
        wrong = span["status"] == "ERROR"
        at_end = start + took < whole / 1e9 * 0.8
        axes.text(
            start + took + whole / 1e9 * 0.006 if at_end else start - whole / 1e9 * 0.006, row, told,
            va="center", ha="left" if at_end else "right", fontsize=8, color=FAILED if wrong else "#444444",
        )  # fmt: skip
    axes.set_yticks(range(len(listed)), [f"{'   ' * depth}{span['name']}" for depth, span in listed], fontsize=8.5)
    for label in axes.get_yticklabels():
        label.set_horizontalalignment("left")
        label.set_family("monospace")
    axes.tick_params(axis="y", length=0, pad=250)
    axes.invert_yaxis()
    axes.set_xlim(0, whole / 1e9 * 1.02)
    axes.set_xlabel("seconds since the process was started", fontsize=8)
    axes.tick_params(axis="x", labelsize=8)
    axes.grid(axis="x", color="#e6e6e6")
    axes.set_axisbelow(True)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.set_title(title, loc="left", fontsize=10, fontweight="bold")
    figure.savefig(file, bbox_inches="tight", metadata={"Software": None})
    pyplot.close(figure)


def main() -> None:
    IMAGES.mkdir(exist_ok=True)
    for name, captured in SHOWN.items():
        draw(f"{name}: a captured session, replayed", spans(captured), IMAGES / f"trace-{name}.png")


if __name__ == "__main__":
    main()
