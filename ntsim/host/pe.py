"""Reads a compiled driver's file: a 64-bit PE image for kernel mode.

In comes the file's bytes; out go its headers, sections, relocations, imports, exports, exception
directory and security cookie, every offset checked. What Windows would not load is a `PeError` with
Windows' status and a sentence. Layout: PE Format specification.

A reader of our own, because strictness is what is asked for here: pefile (58 ms to import) takes a
file cut in half, and lief (350 ms) repairs what a kernel loader refuses.
"""

from __future__ import annotations

import struct
import sys
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from ntsim.abi import ntstatus

MACHINES = {0x14C: "32-bit x86", 0x1C0: "ARM", 0x1C4: "32-bit ARM", 0xAA64: "ARM64", 0x200: "IA-64"}
AMD64 = 0x8664
PE32_PLUS, PE32 = 0x20B, 0x10B
SUBSYSTEM_NATIVE = 1
SUBSYSTEMS = {2: "a windowed application", 3: "a console application", 10: "an EFI application"}
EXECUTABLE_IMAGE, RELOCATIONS_STRIPPED = 1 << 1, 1 << 0
_FOREIGN = {
    b"\x7fELF": "an ELF file, for Linux; build it for x86_64 Windows",
    b"PK\3\4": "a ZIP archive; unpack it first",
    b"MSCF": "a cabinet; unpack it first",
    b"!<ar": "a library for the linker; load the .sys that it belongs to",
    b"\x64\x86": "an object file; link it first",
    b"Micr": "a PDB; load the .sys that it belongs to",
}
"""What a file is that is no executable, by its first bytes."""

EXECUTE, READ, WRITE = 1 << 29, 1 << 30, 1 << 31
DISCARDABLE, CODE = 1 << 25, 1 << 5
_FORCE_INTEGRITY = 1 << 7
"""Of the DLL characteristics: linked with /INTEGRITYCHECK."""

EXPORT, IMPORT, EXCEPTION, RELOCATION, DEBUG, LOAD_CONFIG = 0, 1, 3, 5, 6, 10
_ABSOLUTE, _DIR64 = 0, 10
LARGEST_IMAGE = 64 << 20
SECTION_HEADER = 40
_COOKIE = 0x58
"""Offset of SecurityCookie in IMAGE_LOAD_CONFIG_DIRECTORY64."""


_GUARD_POINTERS, _GUARD_FLAGS, _GUARDED = 0x70, 0x90, 0x100
"""Offsets of GuardCFCheckFunctionPointer, with GuardCFDispatchFunctionPointer behind it, and of
GuardFlags; its bit for an image that control-flow guard is in."""


class PeError(Exception):
    """The file is no driver that can be loaded; `status` is what Windows returns."""

    def __init__(self, text: str, status: int = ntstatus.STATUS_INVALID_IMAGE_FORMAT) -> None:
        super().__init__(text, status)
        self.text, self.status = text, status

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True, slots=True)
class Section:
    """`address` and `size` in memory, relative to the image; `data` is what the file has."""

    name: str
    address: int
    size: int
    data: bytes
    flags: int

    @property
    def executable(self) -> bool:
        return bool(self.flags & EXECUTE)

    @property
    def writable(self) -> bool:
        return bool(self.flags & WRITE)

    @property
    def discardable(self) -> bool:
        return bool(self.flags & DISCARDABLE)

    @property
    def end(self) -> int:
        return self.address + self.size


@dataclass(frozen=True, slots=True)
class Import:
    """One imported routine or variable: `slot` is the place of its address in the image."""

    module: str
    name: str
    ordinal: int | None
    slot: int

    @property
    def label(self) -> str:
        return self.name if self.ordinal is None else f"#{self.ordinal}"


@dataclass(frozen=True, slots=True)
class RuntimeFunction:
    """A RUNTIME_FUNCTION of the exception directory, addresses relative to the image."""

    begin: int
    end: int
    unwind: int


class PeFile:
    """One image; `memory` is what lies in memory before relocation and binding."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.coff_symbols = (0, 0)
        header = self._header()
        machine, count, optional_size, flags = self._file_header(header)
        self.stripped = bool(flags & RELOCATIONS_STRIPPED)
        self._optional_header(header + 24, optional_size, machine)
        self.section_headers = header + 24 + optional_size
        self.sections = list(self._read_sections(self.section_headers, count))
        self.memory = self._lay_out()

    # Headers

    def _unpack(self, layout: str, offset: int, what: str) -> tuple[int, ...]:
        try:
            return struct.unpack_from(layout, self.data, offset)
        except struct.error:
            raise PeError(f"the file ends in the middle of {what}") from None

    def _header(self) -> int:
        if self.data[:2] != b"MZ":
            status = ntstatus.STATUS_INVALID_IMAGE_NOT_MZ
            known = (text for magic, text in _FOREIGN.items() if self.data.startswith(magic))
            kind = next(known, "not an executable" if self.data else "an empty file")
            raise PeError(f"{kind}: it does not begin with MZ", status)
        (offset,) = self._unpack("<I", 0x3C, "the DOS header")
        if self.data[offset : offset + 4] != b"PE\0\0":
            if offset + 4 > len(self.data):
                raise PeError("the file ends before its PE header")
            raise PeError("no PE header: a DOS or 16-bit program")
        return offset

    def _file_header(self, header: int) -> tuple[int, int, int, int]:
        machine, count, _, place, symbols, size, flags = self._unpack(
            "<HHIIIHH", header + 4, "the file header"
        )
        self.coff_symbols = place, symbols
        if machine != AMD64:
            kind = MACHINES.get(machine, f"machine type {machine:#x}")
            raise PeError(
                f"an image for {kind}: this machine is x64 (AMD64); build the driver for x64"
            )
        if not flags & EXECUTABLE_IMAGE:
            raise PeError("an object file, or its linker found errors: it is not marked executable")
        return machine, count, size, flags

    def _optional_header(self, at: int, size: int, machine: int) -> None:
        (magic,) = self._unpack("<H", at, "the optional header")
        if magic != PE32_PLUS:
            kind = "a 32-bit (PE32) image" if magic == PE32 else f"optional header {magic:#x}"
            raise PeError(f"{kind}: a driver for x64 is PE32+")
        if size < 112:
            raise PeError(f"an optional header of {size} bytes is too small for PE32+")
        (self.entry,) = self._unpack("<I", at + 16, "the optional header")
        self.base, self.alignment = self._unpack("<QI", at + 24, "the optional header")
        self.size, self.header_size = self._unpack("<II", at + 56, "the optional header")
        (self.checksum,) = self._unpack("<I", at + 64, "the optional header")
        (subsystem,) = self._unpack("<H", at + 68, "the optional header")
        (characteristics,) = self._unpack("<H", at + 70, "the optional header")
        self.integrity = bool(characteristics & _FORCE_INTEGRITY)
        if subsystem != SUBSYSTEM_NATIVE:
            kind = SUBSYSTEMS.get(subsystem, f"an image for subsystem {subsystem}")
            raise PeError(
                f"{kind}, not a driver: its subsystem is not native; a driver is linked with "
                "/SUBSYSTEM:NATIVE /DRIVER (mingw: -Wl,--subsystem,native)"
            )
        if self.alignment < 16 or self.alignment & self.alignment - 1:
            raise PeError(f"section alignment {self.alignment:#x} is no power of two")
        if not 0 < self.size <= LARGEST_IMAGE:
            raise PeError(f"an image of {self.size:#x} bytes in memory is not possible here")
        (given,) = self._unpack("<I", at + 108, "the optional header")
        room = min(given, 16, (size - 112) // 8)
        self.directories = [
            self._unpack("<II", at + 112 + 8 * i, "the data directories") for i in range(room)
        ]
        if not 0 < self.entry < self.size:
            status = ntstatus.STATUS_DRIVER_ENTRYPOINT_NOT_FOUND
            raise PeError("no entry point: link with /ENTRY:DriverEntry", status)

    def directory(self, number: int) -> tuple[int, int]:
        """(address, size) of a data directory; (0, 0) if there is none."""
        if number >= len(self.directories):
            return 0, 0
        address, size = self.directories[number]
        if not address or not size:
            return 0, 0
        if address + size > self.size:
            raise PeError(f"data directory {number} lies outside the image")
        return address, size

    def _read_sections(self, at: int, count: int) -> Iterator[Section]:
        last = self.header_size
        for number in range(count):
            offset = at + number * SECTION_HEADER
            fields = self._unpack("<8sIIIIIIHHI", offset, "the section headers")
            raw_name: bytes = fields[0]  # type: ignore[assignment]
            size, address, raw_size, raw, flags = *fields[1:5], fields[9]
            name = raw_name.rstrip(b"\0").decode("latin-1")
            size = size or raw_size
            if address % min(self.alignment, 0x1000) or address < last or not size:
                raise PeError(f"section {name} at {address:#x} overlaps, or is not aligned")
            if address + size > -(-self.size // 0x1000) * 0x1000:
                raise PeError(f"section {name} lies outside the image")
            used = min(size, raw_size) if raw else 0
            if raw + used > len(self.data):
                raise PeError(f"the file ends in the middle of section {name}")
            last = address + size
            yield Section(name, address, size, self.data[raw : raw + used], flags)

    def _lay_out(self) -> bytearray:
        memory = bytearray(-(-self.size // 0x1000) * 0x1000)
        if self.header_size > len(self.data) or self.header_size > len(memory):
            raise PeError("the file ends in the middle of its headers")
        memory[: self.header_size] = self.data[: self.header_size]
        for section in self.sections:
            memory[section.address : section.address + len(section.data)] = section.data
        return memory

    @property
    def sum(self) -> int:
        """The checksum that the header should have: the file's words, added with end-around carry,
        and its length. Source: Microsoft "PE Format", CheckSum; sdk-api CheckSumMappedFile."""
        words = array("H", self.data + bytes(len(self.data) & 1))
        if sys.byteorder == "big":
            words.byteswap()
        total = sum(words) - (self.checksum & 0xFFFF) - (self.checksum >> 16)
        folded = total % 0xFFFF
        return (folded or 0xFFFF * bool(total)) + len(self.data)

    # What lies in the image

    def number(self, address: int, size: int) -> int:
        """An unsigned number of the image."""
        if address + size > len(self.memory):
            raise PeError(f"an address ({address:#x}) points outside the image")
        return int.from_bytes(self.memory[address : address + size], "little")

    def text(self, address: int) -> str:
        """A NUL-terminated name."""
        end = self.memory.find(b"\0", address, address + 512)
        if address <= 0 or end < 0:
            raise PeError(f"a name at {address:#x} has no end, or lies outside the image")
        return self.memory[address:end].decode("latin-1")

    def relocations(self) -> Iterator[int]:
        """Places of 64-bit addresses that depend on where the image lies."""
        at, size = self.directory(RELOCATION)
        end = at + size
        while at + 8 <= end:
            page, length = self.number(at, 4), self.number(at + 4, 4)
            if length < 8 or at + length > end:
                raise PeError("the relocation table is damaged")
            for entry in range(at + 8, at + length - 1, 2):
                word = self.number(entry, 2)
                kind, place = word >> 12, page + (word & 0xFFF)
                if kind == _DIR64 and place + 8 <= len(self.memory):
                    yield place
                elif kind != _ABSOLUTE:
                    raise PeError(f"relocation of kind {kind} at {place:#x} has no place in x64")
            at += length

    @cached_property
    def imports(self) -> list[Import]:
        """In the order of the import tables."""
        at, _ = self.directory(IMPORT)
        found: list[Import] = []
        while at:
            names, _, _, module, slots = (self.number(at + 4 * i, 4) for i in range(5))
            if not module or not slots:
                break
            found += self._import_table(self.text(module), names or slots, slots)
            at += 20
        return found

    def _import_table(self, module: str, names: int, slots: int) -> Iterator[Import]:
        for place in range(0, len(self.memory), 8):
            entry = self.number(names + place, 8)
            if not entry:
                return
            if entry >> 63:
                yield Import(module, "", entry & 0xFFFF, slots + place)
            else:
                yield Import(module, self.text(entry + 2), None, slots + place)

    @cached_property
    def ordinals(self) -> dict[int, int]:
        """Address of every export by its number, forwarders left out."""
        at, size = self.directory(EXPORT)
        if not at:
            return {}
        first, count, table = (self.number(at + o, 4) for o in (0x10, 0x14, 0x1C))
        places = ((first + i, self.number(table + 4 * i, 4)) for i in range(min(count, 0x1_0000)))
        return {number: place for number, place in places if place and not at <= place < at + size}

    def _named_exports(self) -> Iterator[tuple[str, int]]:
        """(name, address) in the order of the name table."""
        at, _ = self.directory(EXPORT)
        if not at:
            return
        count, table, names, ordinals = (self.number(at + o, 4) for o in (0x18, 0x1C, 0x20, 0x24))
        for i in range(min(count, 0x1_0000)):
            index = self.number(ordinals + 2 * i, 2)
            name = self.text(self.number(names + 4 * i, 4))
            yield name, self.number(table + 4 * index, 4)

    @cached_property
    def exports(self) -> dict[str, int]:
        """Address of every routine exported by name, forwarders left out."""
        at, size = self.directory(EXPORT)
        return {n: place for n, place in self._named_exports() if not at <= place < at + size}

    @cached_property
    def forwarders(self) -> dict[str, str]:
        """`module.routine` of every export that stands for another module's."""
        at, size = self.directory(EXPORT)
        named = self._named_exports()
        return {n: self.text(place) for n, place in named if at <= place < at + size}

    @cached_property
    def functions(self) -> list[RuntimeFunction]:
        """The exception directory."""
        at, size = self.directory(EXCEPTION)
        found = []
        for place in range(at, at + size - 11, 12):
            made = RuntimeFunction(*(self.number(place + 4 * i, 4) for i in range(3)))
            if made.begin:
                found.append(made)
        return found

    @property
    def security_cookie(self) -> int:
        """Place of __security_cookie relative to the image, 0 if there is none."""
        at, size = self.directory(LOAD_CONFIG)
        if not at or min(size, self.number(at, 4)) < _COOKIE + 8:
            return 0
        return self._pointed_at(at + _COOKIE)

    def _pointed_at(self, at: int) -> int:
        """Where in the image an address leads that lies at a place of it, 0 if out of it."""
        address = self.number(at, 8)
        place = address - self.base
        return place if address and 0 < place <= self.size - 8 else 0

    @property
    def guard_pointers(self) -> tuple[int, int]:
        """Places of the pointers to the routines that check the target of an indirect call, and
        that check and call it; 0 where there is none."""
        at, size = self.directory(LOAD_CONFIG)
        if not at or min(size, self.number(at, 4)) < _GUARD_FLAGS + 4:
            return 0, 0
        if not self.number(at + _GUARD_FLAGS, 4) & _GUARDED:
            return 0, 0
        return self._pointed_at(at + _GUARD_POINTERS), self._pointed_at(at + _GUARD_POINTERS + 8)
