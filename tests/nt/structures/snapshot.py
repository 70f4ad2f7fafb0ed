"""A copy of RAM, read the way a debugger or a dump reader does: page tables and public offsets.

Nothing here asks the simulator; the layouts are those of tests/abi/data, the entry points are nt's
own variables.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tests.abi.test_structures import LAYOUTS

PRESENT, FRAME, LARGE = 1, 0x000F_FFFF_FFFF_F000, 0x80
OFFSETS = {
    name: {field: (offset, width) for field, offset, width in fields}
    for name, (_, fields) in LAYOUTS.items()
}


class NotMapped(Exception):
    """No frame is behind an address."""


def offset_of(structure: str, field: str) -> int:
    return OFFSETS[structure][field][0]


class Snapshot:
    """`memory` is all of RAM, `root` the physical address of a page table, `symbols` are nt's."""

    def __init__(self, memory: bytes, root: int, symbols: dict[str, int]) -> None:
        self.memory, self.root, self.symbols = memory, root, symbols

    @classmethod
    def of(cls, machine: Any) -> Snapshot:
        nt = machine.nt
        symbols = {symbol.name: symbol.address for symbol in nt.nt_image.symbols}
        return cls(nt.mm.ram.read(0, nt.mm.ram.size), nt.mm.system_root, symbols)

    def using(self, root: int) -> Snapshot:
        """The same memory in another address space."""
        return Snapshot(self.memory, root, self.symbols)

    def physical(self, va: int) -> int:
        table = self.root
        for shift in (39, 30, 21, 12):
            at = (table & FRAME) + 8 * (va >> shift & 0x1FF)
            table = int.from_bytes(self.memory[at : at + 8], "little")
            if not table & PRESENT:
                raise NotMapped(f"{va:#x}")
            if table & LARGE and shift == 21:
                return (table & FRAME & ~0x1F_FFFF) + (va & 0x1F_FFFF)
        return (table & FRAME) + (va & 0xFFF)

    def read(self, va: int, size: int) -> bytes:
        parts = []
        while size:
            count = min(size, 0x1000 - (va & 0xFFF))
            at = self.physical(va)
            parts.append(self.memory[at : at + count])
            va, size = va + count, size - count
        return b"".join(parts)

    def number(self, va: int, size: int = 8, signed: bool = False) -> int:
        return int.from_bytes(self.read(va, size), "little", signed=signed)

    def structure(self, name: str, va: int) -> View:
        return View(self, name, va)

    def text(self, unicode_string: int) -> str:
        """What a UNICODE_STRING says."""
        length = self.number(unicode_string, 2)
        buffer = self.number(unicode_string + 8)
        return self.read(buffer, length).decode("utf-16-le") if length else ""

    def entries(self, head: int) -> list[int]:
        """The entries of a LIST_ENTRY ring; its backward links are asserted on the way."""
        found, at, before = [], self.number(head), head
        while at != head:
            assert self.number(at + 8) == before, f"Blink of {at:#x} on the list at {head:#x}"
            found.append(at)
            assert len(found) < 100_000, f"the list at {head:#x} does not come back"
            at, before = self.number(at), at
        assert self.number(head + 8) == before
        return found

    def chain(self, structure: str, head: int, link: str) -> list[View]:
        """The structures that a list links by their member `link`."""
        offset = offset_of(structure, link)
        return [View(self, structure, entry - offset) for entry in self.entries(head)]

    # Processes and threads

    def processes(self) -> list[View]:
        return self.chain("EPROCESS", self.symbols["PsActiveProcessHead"], "ActiveProcessLinks")

    def process(self, image: str) -> View:
        """The process of that image file."""
        name = image.encode()
        offset = offset_of("EPROCESS", "ImageFileName")
        (found,) = (
            p for p in self.processes() if self.read(p.va + offset, 15).rstrip(b"\0") == name
        )
        return found

    def root_of(self, process: View) -> int:
        return View(self, "KPROCESS", process.va)["DirectoryTableBase"]

    def threads(self, process: View) -> list[View]:
        return self.chain("ETHREAD", process.address("ThreadListHead"), "ThreadListEntry")

    # Objects

    def header(self, body: int) -> View:
        return View(self, "OBJECT_HEADER", body - offset_of("OBJECT_HEADER", "Body"))

    def type_of(self, body: int) -> View:
        """The OBJECT_TYPE that a header's encoded index leads to."""
        header = self.header(body)
        cookie = self.number(self.symbols["ObHeaderCookie"], 4)
        index = (header["TypeIndex"] ^ cookie ^ header.va >> 8) & 0xFF
        return View(self, "OBJECT_TYPE", self.number(self.symbols["ObTypeIndexTable"] + 8 * index))

    def type_name(self, body: int) -> str:
        return self.text(self.type_of(body).address("Name"))

    def name_information(self, body: int) -> View:
        size = LAYOUTS["OBJECT_HEADER_NAME_INFO"][0]
        assert self.header(body)["InfoMask"] & 2
        return View(self, "OBJECT_HEADER_NAME_INFO", self.header(body).va - size)

    def directory(self, body: int) -> dict[str, int]:
        """Names to bodies, from the hash buckets."""
        found = {}
        for bucket in range(37):
            entry = self.number(body + 8 * bucket)
            while entry:
                view = View(self, "OBJECT_DIRECTORY_ENTRY", entry)
                name = self.text(self.name_information(view["Object"]).address("Name"))
                assert name not in found
                found[name] = view["Object"]
                entry = view["ChainLink"]
        return found

    def object(self, path: str) -> int:
        """The body that a path leads to; links are not followed."""
        body = self.number(self.symbols["ObpRootDirectoryObject"])
        for part in filter(None, path.split("\\")):
            body = self.directory(body)[part]
        return body

    def handles(self, process: View) -> dict[int, tuple[int, int]]:
        """Handle to (body, granted access), from the process's HANDLE_TABLE."""
        table = View(self, "HANDLE_TABLE", process["ObjectTable"])
        code = table["TableCode"]
        pages = [code & ~7]
        if code & 7:
            pages = [p for i in range(512) if (p := self.number((code & ~7) + 8 * i))]
        found = {}
        for number, page in enumerate(pages):
            for index in range(256):
                low = self.number(page + 16 * index)
                if low >> 20:
                    header = low >> 20 << 4 | 0xFFFF << 48
                    body = header + offset_of("OBJECT_HEADER", "Body")
                    access = self.number(page + 16 * index + 8, 4) & 0x1FF_FFFF
                    found[(number * 256 + index) * 4] = (body, access)
        return found

    def vads(self, process: View) -> Iterator[tuple[int, int, int]]:
        """(node, first page, last page) of each VAD in order."""

        def walk(node: int) -> Iterator[tuple[int, int, int]]:
            if node:
                yield from walk(self.number(node))
                first = self.number(node + 0x20, 1) << 32 | self.number(node + 0x18, 4)
                last = self.number(node + 0x21, 1) << 32 | self.number(node + 0x1C, 4)
                yield node, first, last
                yield from walk(self.number(node + 8))

        yield from walk(self.number(process.address("VadRoot")))


class View:
    """A structure's fields by dotted names, as unsigned integers."""

    def __init__(self, snapshot: Snapshot, name: str, va: int) -> None:
        self.snapshot, self.name, self.va = snapshot, name, va

    def __repr__(self) -> str:
        return f"{self.name} at {self.va:#x}"

    def address(self, field: str) -> int:
        return self.va + offset_of(self.name, field)

    def __getitem__(self, field: str) -> int:
        offset, width = OFFSETS[self.name][field]
        assert width, f"{self.name}.{field} is a structure: use address()"
        return self.snapshot.number(self.va + offset, width)

    def sub(self, structure: str, field: str) -> View:
        """A structure within this one."""
        return View(self.snapshot, structure, self.address(field))
