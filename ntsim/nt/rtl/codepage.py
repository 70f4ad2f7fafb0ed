"""The system's ANSI code page: Windows-1252, whose five unassigned bytes stand for themselves.

One byte is one character and nothing is lost on the way back, so that bytes of any kind survive a
conversion. Source: code page 1252 in the Windows best-fit tables.
"""

from __future__ import annotations

import codecs

_TABLE = "".join(bytes([code]).decode("cp1252", "ignore") or chr(code) for code in range(256))
_ENCODING = codecs.charmap_build(_TABLE)


def ansi_decode(data: bytes) -> str:
    """Text of 8-bit characters."""
    return codecs.charmap_decode(data, "strict", _TABLE)[0]


def ansi_encode(text: str) -> bytes:
    """8-bit characters; `?` for what the code page does not have, one for each UTF-16 unit."""
    try:
        return codecs.charmap_encode(text, "strict", _ENCODING)[0]
    except UnicodeEncodeError:
        return codecs.charmap_encode(units(text), "replace", _ENCODING)[0]


def units(text: str) -> str:
    """The same text with one character for each UTF-16 unit: surrogates taken apart."""
    data = text.encode("utf-16-le", "surrogatepass")
    return "".join(chr(int.from_bytes(data[i : i + 2], "little")) for i in range(0, len(data), 2))


def wide_decode(data: bytes) -> str:
    """Text of UTF-16 bytes; a lone surrogate is kept, an odd byte at the end dropped."""
    return data[: len(data) & ~1].decode("utf-16-le", "surrogatepass")


def wide_encode(text: str) -> bytes:
    """UTF-16 bytes of a text."""
    return text.encode("utf-16-le", "surrogatepass")
