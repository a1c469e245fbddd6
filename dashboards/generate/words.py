"""The words that settings and rules have in common."""

from __future__ import annotations

from typing import Final

__all__ = ["ENDS_WELL", "FIRST_TOKEN", "NO_STALL", "PAGE", "SLOS", "TICKET", "TOOLS"]

FIRST_TOKEN, NO_STALL, ENDS_WELL, TOOLS = SLOS = ("first-token", "no-stall", "ends-well", "tools")
PAGE: Final = "page"
TICKET: Final = "ticket"
