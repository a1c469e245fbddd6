"""JAF's own objects and arguments, read and changed: a dataclass or a mapping, by position or by name."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

__all__ = ["argument", "changed", "configured", "field", "text"]


def argument(args: tuple[Any, ...], kwargs: Mapping[str, Any], index: int, name: str) -> Any:
    return args[index] if len(args) > index else kwargs.get(name)


def configured(
    args: tuple[Any, ...], kwargs: dict[str, Any], config: Any, index: int = 1
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The arguments, with another configuration where there is one."""
    if len(args) > index:
        return (*args[:index], config, *args[index + 1 :]), kwargs
    return args, kwargs | {"config": config} if "config" in kwargs else kwargs


def changed(config: Any, **fields: Any) -> Any:
    """A copy of the configuration, with other fields; the user's own stays as it is."""
    try:
        copied = copy.copy(config)
        for name, value in fields.items():
            object.__setattr__(copied, name, value)  # RunConfig is frozen, and its copy is ours
    except Exception:  # no configuration after all: JAF is to complain of it, not we
        return config
    return copied


def text(holder: Any, name: str) -> str:
    value = field(holder, name)
    return value if isinstance(value, str) else ""


def field(holder: Any, name: str) -> Any:
    return holder.get(name) if isinstance(holder, Mapping) else getattr(holder, name, None)
