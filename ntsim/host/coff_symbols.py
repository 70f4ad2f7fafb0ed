"""Names of a compiled driver's functions from the COFF symbol table of the file: mingw leaves one.

An image of Microsoft's linker has none, nor has one that was linked with -s or stripped. Source:
Microsoft "PE Format", "COFF Symbol Table" and "COFF String Table".
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from ntsim.host.pe import PeFile

_SYMBOL = struct.Struct("<8sIhHBB")
_FUNCTION, _DERIVED = 0x20, 0x30
_EXTERNAL, _STATIC = 2, 3
_MOST = 0x10_0000


def function_names(pe: PeFile) -> dict[int, str]:
    """Address, relative to the image, and name of every function; those that other files could
    see go before static ones. A damaged table gives what can be read of it."""
    found: dict[int, str] = {}
    for name, address, storage in _functions(pe):
        if storage == _EXTERNAL or address not in found:
            found[address] = name
    return found


def _functions(pe: PeFile) -> Iterator[tuple[str, int, int]]:
    at, count = pe.coff_symbols
    end = at + count * _SYMBOL.size
    if not at or count > _MOST or end > len(pe.data):
        return
    further = 0
    for place in range(at, end, _SYMBOL.size):
        if further:
            further -= 1
            continue
        raw, value, section, kind, storage, further = _SYMBOL.unpack_from(pe.data, place)
        if kind & _DERIVED != _FUNCTION or storage not in (_EXTERNAL, _STATIC):
            continue
        if 0 < section <= len(pe.sections) and value < pe.sections[section - 1].size:
            name = _name(pe.data, raw, end)
            if name:
                yield name, pe.sections[section - 1].address + value, storage


def _name(data: bytes, raw: bytes, strings: int) -> str:
    """Up to eight characters, or the place of more in the string table."""
    if raw[:4] == bytes(4):
        start = strings + int.from_bytes(raw[4:], "little")
        raw = data[start : data.find(b"\0", start, start + 0x1000)]
    return raw.rstrip(b"\0").decode("latin-1")
