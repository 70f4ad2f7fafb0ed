"""A PE32+ image as it lies in memory: header, section table, export directory.

What drivers that parse the kernel's own image read. Source: Microsoft "PE Format"; ntimage.h.
"""

from __future__ import annotations

import struct
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

CODE, INITIALIZED, DISCARDABLE = 0x20, 0x40, 0x0200_0000
EXECUTE, READ, WRITE = 0x2000_0000, 0x4000_0000, 0x8000_0000
EXPORT, DIRECTORIES = 0, 16
FIRST_ORDINAL = 1
_AMD64, _PE32_PLUS, _NATIVE = 0x8664, 0x20B, 1
_FILE = 0x22  # executable image, large addresses
_DLL_CHARACTERISTICS = 0x4160  # high entropy, dynamic base, NX, control-flow guard
_LFANEW = 0x80
_OPTIONAL_SIZE = 112 + 8 * DIRECTORIES


@dataclass(frozen=True, slots=True)
class ImageSection:
    """A row of the section table; `at` is relative to the image's base."""

    name: str
    at: int
    size: int
    characteristics: int


def image_header(
    base: int,
    size: int,
    sections: Sequence[ImageSection],
    exports: tuple[int, int],
    *,
    entry: int = 0,
    dll: bool = False,
    timestamp: int = 0,
) -> bytes:
    """The image's first page up to the end of the section table. `exports` are place and size."""
    code = [s for s in sections if s.characteristics & CODE]
    headers = 0x400
    dos = bytearray(b"MZ".ljust(_LFANEW, b"\0"))
    struct.pack_into("<I", dos, 0x3C, _LFANEW)
    characteristics = _FILE | (0x2000 if dll else 0)
    file = struct.pack(
        "<4sHHIIIHH", b"PE\0\0", _AMD64, len(sections), timestamp, 0, 0, _OPTIONAL_SIZE,
        characteristics,
    )  # fmt: skip
    optional = struct.pack(
        "<HBBIIIIIQIIHHHHHHIIIIHHQQQQII",
        _PE32_PLUS, 14, 20, sum(s.size for s in code), sum(s.size for s in sections), 0, entry,
        code[0].at if code else 0, base, 0x1000, 0x200, 10, 0, 10, 0, 10, 0, 0, size, headers, 0,
        _NATIVE, _DLL_CHARACTERISTICS, 0x8_0000, 0x2000, 0x10_0000, 0x1000, 0, DIRECTORIES,
    )  # fmt: skip
    directories = struct.pack("<II", *exports).ljust(8 * DIRECTORIES, b"\0")
    table = b"".join(
        struct.pack(
            "<8sIIIIIIHHI", s.name.encode(), s.size, s.at, s.size, s.at, 0, 0, 0, 0,
            s.characteristics,
        )
        for s in sections
    )  # fmt: skip
    made = bytes(dos) + file + optional + directories + table
    assert len(made) <= headers, f"{len(sections)} sections do not fit into the header"
    return made.ljust(headers, b"\0")


def export_directory(at: int, module: str, exports: dict[str, int | str]) -> bytes:
    """The export directory for place `at` of a module: each name's place, or what it is forwarded
    to (`ntoskrnl.HalMakeBeep`). Names are in order, so that a binary search finds them."""
    names = sorted(exports)
    count = len(names)
    functions = at + 40
    pointers = functions + 4 * count
    ordinals = pointers + 4 * count
    texts = [module, *names, *(t for t in map(exports.get, names) if isinstance(t, str))]
    data = [text.encode("ascii") + b"\0" for text in texts]
    starts = [*accumulate(map(len, data), initial=ordinals + 2 * count)]
    forwarders = iter(starts[1 + count :])
    places = [
        place if isinstance(place := exports[name], int) else next(forwarders) for name in names
    ]
    head = struct.pack(
        "<IIHHIIIIIII", 0, 0, 0, 0, starts[0], FIRST_ORDINAL, count, count, functions, pointers,
        ordinals,
    )  # fmt: skip
    tables = struct.pack(
        f"<{count}I{count}I{count}H", *places, *starts[1 : 1 + count], *range(count)
    )
    return head + tables + b"".join(data)


def export_number(names: Sequence[str], name: str) -> int:
    """Where a name stands among sorted ones; -1 if it is not there."""
    at = bisect_left(names, name)
    return at if at < len(names) and names[at] == name else -1
