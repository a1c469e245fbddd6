"""The documentation's pages, and the blocks of code in them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

__all__ = ["AGENTS", "PAGES", "ROOT", "SDKS", "Block", "blocks"]

ROOT = Path(__file__).parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), ROOT / "dashboards" / "README.md"])
AGENTS = frozenset({"aiecs", "jaf", "shipit_agent", "zag", "ziran"})
"""Packages that need a model or a service to run: what they do is shown by tests/interop."""
SDKS = frozenset(
    {
        "a2a", "ag_ui", "agents", "anthropic", "boto3", "cohere", "google", "httpx", "httpx2", "langchain_openai",
        "langgraph_sdk", "litellm", "mcp", "mistralai", "ollama", "openai", "pydantic_ai",
    }
)  # fmt: skip
"""Packages whose blocks are run by tests/interop_sdks, against a scripted service."""
FENCE = re.compile(r"(?P<before>[^\n]*\n\n?)?^```(?P<kind>[a-z]*)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)


class Block(NamedTuple):
    page: Path
    line: int
    kind: str
    text: str
    told_not_to: bool
    """The page says that it is not run, and why."""
    output: str | None
    """What the page shows right below."""

    @property
    def id(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"

    @property
    def imports(self) -> set[str]:
        return set(re.findall(r"^\s*(?:from|import) (\w+)", self.text, re.MULTILINE))

    @property
    def is_program(self) -> bool:
        """No fragment, and nothing that needs an agent's package."""
        return not self.told_not_to and "streamgauge" in self.imports and self.imports.isdisjoint(AGENTS)


def blocks(kind: str) -> list[Block]:
    found = []
    for page in PAGES:
        text = page.read_text("utf-8")
        fences = list(FENCE.finditer(text))
        for index, fence in enumerate(fences):
            if fence["kind"] != kind:
                continue
            after = fences[index + 1] if index + 1 < len(fences) else None
            output = after["text"] if after is not None and after["kind"] == "text" else None
            if after is not None and text[fence.end() : after.start("kind") - len("```")].strip():
                output = None  # words are between: it is not this one's
            told_not_to = "<!-- not run: " in (fence["before"] or "")
            line = text.count("\n", 0, fence.start("kind")) + 1
            found.append(Block(page, line, kind, fence["text"], told_not_to, output))
    return found
