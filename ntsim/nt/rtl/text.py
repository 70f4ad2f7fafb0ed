"""Text in simulated memory, for the kernel's own use."""

from __future__ import annotations

from typing import Any

from ntsim.abi.memory import Memory


def read_unicode(memory: Memory, string: Any) -> str:
    """The text of a UNICODE_STRING."""
    v = string._v
    length: int = v.Length
    if not length:
        return ""
    return memory.read(v.Buffer, length).decode("utf-16-le", "replace")


def read_wide(memory: Memory, va: int, limit: int = 32767) -> str:
    """The NUL-terminated UTF-16 text at `va`, at most `limit` characters."""
    parts = bytearray()
    while len(parts) < limit * 2:
        unit = memory.read(va + len(parts), 2)
        if unit == b"\0\0":
            break
        parts += unit
    return parts.decode("utf-16-le", "replace")


def read_narrow(memory: Memory, va: int, limit: int = 65535) -> str:
    """The NUL-terminated 8-bit text at `va`."""
    parts = bytearray()
    while len(parts) < limit:
        unit = memory.read(va + len(parts), 1)
        if unit == b"\0":
            break
        parts += unit
    return parts.decode("latin-1")
