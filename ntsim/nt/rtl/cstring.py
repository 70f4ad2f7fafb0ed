"""NUL-terminated strings in simulated memory, read a page at a time.

No page is touched that the string does not reach: a fault comes where a processor that looks at one
character after the other would meet it.
"""

from __future__ import annotations

from ntsim.abi.memory import Memory
from ntsim.nt.rtl.codepage import ansi_encode, wide_encode

PAGE = 0x1000


def narrow_bytes(memory: Memory, va: int, limit: int | None = None) -> bytes:
    """The 8-bit string at `va` without its NUL; at most `limit` bytes are looked at."""
    parts = []
    while limit is None or limit > 0:
        take = PAGE - (va & 0xFFF)
        if limit is not None:
            take = min(take, limit)
            limit -= take
        data = memory.read(va, take)
        end = data.find(0)
        if end >= 0:
            parts.append(data[:end])
            break
        parts.append(data)
        va += take
    return b"".join(parts)


def wide_bytes(memory: Memory, va: int, limit: int | None = None) -> bytes:
    """The UTF-16 string at `va` without its NUL; at most `limit` characters are looked at."""
    data = b""
    left = None if limit is None else limit * 2
    while left is None or left > 0:
        take = PAGE - (va + len(data) & 0xFFF)
        if left is not None:
            take = min(take, left)
            left -= take
        searched = max(len(data) - 1, 0) & ~1
        data += memory.read(va + len(data), take)
        end = find_wide_nul(data, searched)
        if end >= 0:
            return data[:end]
    return data


def find_wide_nul(data: bytes, start: int) -> int:
    """Offset of the first aligned pair of zero bytes from `start` on, -1 if there is none."""
    at = data.find(b"\0\0", start)
    while at >= 0 and at & 1:
        at = data.find(b"\0\0", at + 1)
    return at


def write_narrow(memory: Memory, va: int, text: str) -> int:
    """Store `text` in the ANSI code page with a NUL; its length in bytes, without the NUL."""
    data = ansi_encode(text)
    memory.write(va, data + b"\0")
    return len(data)


def write_wide(memory: Memory, va: int, text: str) -> int:
    """Store `text` as UTF-16 with a NUL; its length in characters, without the NUL."""
    data = wide_encode(text)
    memory.write(va, data + b"\0\0")
    return len(data) // 2
