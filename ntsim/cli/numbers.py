"""Numbers as people paste them from headers and debuggers."""

import re

_DEBUGGER_NUMBER = re.compile(r"(?:0x)?([0-9a-f]+)h?", re.IGNORECASE)


def c_number(text: str) -> int | None:
    """A number as C spells it, decimal or 0x...; without 0x but with hexadecimal letters too."""
    text = text.strip().rstrip("uUlL") if not text.lower().startswith("0x") else text.strip()
    if re.fullmatch(r"[0-9]+", text):
        return int(text)
    return debugger_number(text)


def debugger_number(text: str) -> int | None:
    """A hexadecimal number as debuggers print it: 4a, 0x4a, fffff800`02001234, 0x22e001UL."""
    match = _DEBUGGER_NUMBER.fullmatch(text.strip().replace("`", "").rstrip("uUlL"))
    return int(match[1], 16) if match else None
