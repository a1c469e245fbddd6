"""Secrets out of the JSON form of an event. By names, so it is a net, not a proof: content is what it is."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any, Final

__all__ = ["REDACTED", "redact_secrets"]

REDACTED: Final = "[redacted]"

# Names without case and punctuation. "token" on its own is often a piece of output, and what ends with "tokens" a
# count, so tokens go by what they are for. A session id is how events are told apart, not a credential.
_SECRET = re.compile(
    r"(authorization|cookies?|cookie2|apikey|password|passwd|passphrase|credentials?|secret|secretaccesskey|privatekey"
    r"|signingkey|(access|refresh|auth|bearer|session|csrf|xsrf|security|id|api|secret|private|job)token)$|^x\w*token$"
)
_LONGEST_NAME = 100

# The same in JSON that is inside a text (`"api_key": "…`): the name with its closing quote, which may be escaped, and
# the value's opening quote.
_NAMED = re.compile(
    r"(?:authorization|cookie|api[-_]?key|password|passphrase|(?:client|api)[-_]?secret|secret[-_]?access[-_]?key"
    r"|private[-_]?key|(?:access|refresh|auth|bearer|session|csrf|xsrf|security|id|api|secret|private)[-_]?token)"
    r'(\\*+)"\s*+:\s*+\1"',
    re.IGNORECASE,
)
_QUOTE = re.compile(r'(?<!\\)\\*+"')
# Credentials that can be told without a name: RFC 6750's header value, and the model providers' keys.
_BEARER = re.compile(r"\b(bearer\s{1,8})[A-Za-z0-9._~+/=-]{16,}", re.IGNORECASE)
_KEY = re.compile(r"\bsk-[A-Za-z0-9_-]{16,}")


def redact_secrets(form: Any) -> Any:
    """The JSON form of an event (or its framed `str` or `bytes`) without the values of what is named like a credential:
    authorization, cookies, api keys, passwords, secrets and access tokens, in dicts, in header pairs, and in JSON
    within a text, at any depth. A secret that is cut in two by two reads is only found where its name is.

    Raises: never, for what `jsonable` returns.
    """
    if isinstance(form, str):
        return _clean(form)
    if isinstance(form, bytes):
        return _clean(form.decode("latin-1")).encode("latin-1")
    if isinstance(form, dict):
        name = form.get("name", form.get("key"))
        is_header = isinstance(name, str) and _is_secret(name)
        return {
            key: _hidden(value)
            if _is_secret(key) or (is_header and key == "value") or (key == "token" and isinstance(value, str))
            else redact_secrets(value)
            for key, value in form.items()
        }
    if isinstance(form, list):
        if len(form) == 2 and isinstance(form[0], str) and isinstance(form[1], str) and _is_secret(form[0]):
            return [form[0], REDACTED]
        return [redact_secrets(value) for value in form]
    return form


def _hidden(value: Any) -> Any:
    return value if value is None or value is True or value is False or value == "" else REDACTED


def _is_secret(name: str) -> bool:
    return len(name) <= _LONGEST_NAME and _matches(name)


@lru_cache(1024)
def _matches(name: str) -> bool:
    return _SECRET.search(re.sub(r"[^a-z0-9]", "", name.lower())) is not None


def _clean(text: str) -> str:
    match = _NAMED.search(text)
    if match is not None:
        text = _without_named(text, match)
    text = _BEARER.sub(rf"\1{REDACTED}", text)
    return _KEY.sub(REDACTED, text)


def _without_named(text: str, match: re.Match[str] | None) -> str:
    parts = []
    start = 0
    while match is not None:
        begin, escapes = match.end(), len(match[1])
        end = len(text)  # the text may be cut off within the value
        for quote in _QUOTE.finditer(text, begin):
            before = len(quote[0]) - 1
            # Each level of quoting doubles the backslashes and adds one; what is left after the level's own decides
            # whether the quote ends the value or is part of it. Fewer of them end the JSON that the value is in.
            if before < escapes or (before + 1) // (escapes + 1) % 2:
                end = quote.end() - 1 - min(before, escapes)
                break
        parts.append(text[start:begin])
        if end > begin:
            parts.append(REDACTED)
        start = end
        match = _NAMED.search(text, end)
    return "".join([*parts, text[start:]])
