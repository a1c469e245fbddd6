"""What streamgauge raises, by blame. The tap itself never raises.

StreamgaugeError
├── UsageError                 the caller's mistake; the command line exits with 2
│   ├── SettingsError          a flag, a variable or a settings file
│   ├── UnknownDialectError    a dialect of that name is not installed
│   └── UnwrappableError       nothing in that object streams
├── MissingExtraError          an optional dependency is not installed
└── FormatError                the data's fault
    ├── CaptureError           a capture file that is not one
    └── FramingError           data beyond a framing's limits; makes the tap go blind, never the stream fail
"""

from __future__ import annotations

__all__ = [
    "CaptureError",
    "FormatError",
    "FramingError",
    "MissingExtraError",
    "SettingsError",
    "StreamgaugeError",
    "UnknownDialectError",
    "UnwrappableError",
    "UsageError",
]


class StreamgaugeError(Exception):
    """The root of all that streamgauge raises."""


class UsageError(StreamgaugeError):
    """The caller's mistake; the message says what to do."""


class SettingsError(UsageError):
    """A setting that cannot be: `name` is where it stands (flag, variable or file and key)."""

    def __init__(self, name: str, problem: str) -> None:
        super().__init__(f"{name}: {problem}")
        self.name = name
        self.problem = problem

    def __reduce__(self) -> tuple[object, ...]:  # else it could not cross to another process
        return type(self), (self.name, self.problem)


class UnknownDialectError(UsageError):
    """No dialect of that `name`; `known` are those that there are."""

    def __init__(self, name: str, known: tuple[str, ...]) -> None:
        super().__init__(
            f"there is no dialect {name!r}; known are {', '.join(known)}. "
            "A dialect of your own is registered by the entry-point group 'streamgauge.dialects'."
        )
        self.name = name
        self.known = known

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.name, self.known)


class UnwrappableError(UsageError, TypeError):
    """`wrap` was given something that gives no stream."""


class MissingExtraError(StreamgaugeError, ImportError):
    """An optional dependency is missing; the message says how to install it."""

    def __init__(self, feature: str, extra: str) -> None:
        super().__init__(f"{feature} needs an extra: pip install 'streamgauge[{extra}]'")
        self.feature = feature
        self.extra = extra

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.feature, self.extra)


class FormatError(StreamgaugeError, ValueError):
    """The data is not what it should be."""


class CaptureError(FormatError):
    """A capture file that cannot be read; the message names the line."""


class FramingError(FormatError):
    """Data beyond a framing's limits."""
