"""Small PE images made byte by byte: what a linker of any age could have written."""

import struct
from collections.abc import Sequence
from pathlib import Path

TEXT, IMPORTS, DATA = 0x1000, 0x2000, 0x3000
CODE, READ_ONLY, WRITABLE = 0x68000020, 0x48000040, 0xC8000040


class Code:
    """Machine code at TEXT that calls imports through their slots."""

    def __init__(self, *imports: str, module: str = "ntoskrnl.exe", at: int = TEXT) -> None:
        self.imports, self.module, self.at = imports, module, at
        self.bytes = b""

    def add(self, data: str) -> "Code":
        """Bytes in hexadecimal."""
        self.bytes += bytes.fromhex(data)
        return self

    def call(self, name: str) -> "Code":
        """`call [rip+slot]`."""
        return self.to("ff15", IMPORTS + 8 * self.imports.index(name))

    def to(self, opcode: str, place: int, behind: str = "") -> "Code":
        """An instruction whose RIP-relative operand is a place of the image; `behind` is its
        immediate."""
        opened = bytes.fromhex(opcode)
        end = self.at + len(self.bytes) + len(opened) + 4 + len(bytes.fromhex(behind))
        self.bytes += opened + struct.pack("<i", place - end) + bytes.fromhex(behind)
        return self

    def import_section(self) -> bytes:
        """Import address table, lookup table, descriptor and names."""
        size = 8 * (len(self.imports) + 1)
        at, names = IMPORTS + 2 * size + 40, b""
        entries = []
        for name in self.imports:
            entries.append(at + len(names))
            names += b"\0\0" + name.encode() + b"\0" * (2 - len(name) % 2)
        module = at + len(names)
        table = struct.pack(f"<{len(entries) + 1}Q", *entries, 0)
        descriptor = struct.pack("<5I", IMPORTS + size, 0, 0, module, IMPORTS).ljust(40, b"\0")
        return table + table + descriptor + names + self.module.encode() + b"\0"

    @property
    def directory(self) -> tuple[int, int]:
        return IMPORTS + 16 * (len(self.imports) + 1), 40


def write(
    path: Path,
    code: Code,
    *,
    data: bytes = b"\0" * 64,
    base: int = 0x1_4000_0000,
    alignment: int = 0x1000,
    directories: dict[int, tuple[int, int]] | None = None,
    flags: int = 0x22,
    characteristics: int = 0,
    subsystem_version: tuple[int, int] = (6, 1),
    sections: Sequence[tuple[str, int, bytes, int]] | None = None,
) -> Path:
    """Write the image: .text, .rdata with the imports and .data, or other `sections` of (name,
    place, bytes, flags). With an alignment below a page the file is laid out as memory is."""
    parts = sections or [
        (".text", TEXT, code.bytes, CODE),
        (".rdata", IMPORTS, code.import_section(), READ_ONLY),
        (".data", DATA, data, WRITABLE),
    ]
    places = {1: code.directory, **(directories or {})}
    end = max(place + len(content) for _, place, content, _ in parts)
    step = alignment if alignment < 0x1000 else 0x200
    size = -(-end // alignment) * alignment
    optional = struct.pack("<HBB5I", 0x20B, 14, 0, 0, 0, 0, code.at, code.at)
    optional += struct.pack("<Q2I", base, alignment, step)
    optional += struct.pack("<6H4I2H", 10, 0, 10, 0, *subsystem_version, 0, size, 0x400, 0, 1,
                            characteristics)  # fmt: skip
    optional += struct.pack("<4Q2I", 0x40000, 0x1000, 0x100000, 0x1000, 0, 16)
    optional += b"".join(struct.pack("<II", *places.get(i, (0, 0))) for i in range(16))
    header = b"MZ".ljust(0x3C, b"\0") + struct.pack("<I", 0x40) + b"PE\0\0"
    header += struct.pack("<HHIIIHH", 0x8664, len(parts), 0, 0, 0, len(optional), flags) + optional
    table, body, raw = b"", b"", 0x400
    for name, place, content, kind in parts:
        if alignment < 0x1000:
            raw = place
        stored = -(-len(content) // step) * step
        row = (name.encode(), len(content), place, stored, raw, 0, 0, 0, 0, kind)
        table += struct.pack("<8s6I2HI", *row)
        body = body.ljust(raw - 0x400, b"\0") + content.ljust(stored, b"\0")
        raw += stored
    path.write_bytes((header + table).ljust(0x400, b"\0") + body)
    return path
