"""Maps a compiled driver: sections with their protections, relocations, imports, cookie, symbols.

What a loader does between reading the file and calling DriverEntry. Source: PE Format
specification; Windows Internals 7, part 1, chapter 5, "Kernel-mode image loading".
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

from ntsim.abi import ntstatus, routines
from ntsim.errors import DriverLoadError
from ntsim.host import coff_symbols
from ntsim.host.debug_information import DebugInformation
from ntsim.host.dependencies import what_is
from ntsim.host.export_names import KERNEL_MODULES, Standing, is_kernel_module, standing
from ntsim.host.export_table import ExportTable
from ntsim.host.pe import (
    EXCEPTION,
    SECTION_HEADER,
    Import,
    PeError,
    PeFile,
    RuntimeFunction,
    Section,
)
from ntsim.hw.engine.lengths import vex_places
from ntsim.hw.prng import Random
from ntsim.hw.ram import PAGE_SIZE
from ntsim.nt.kernel import Kernel
from ntsim.nt.mm.images import Image, ImageSection, Symbol

_CPP_RUNTIME = ("__CxxFrameHandler", "_CxxThrowException", "__GSHandlerCheck_EH", "__std_terminate")
_VEX_BYTES = frozenset((0x62, 0x8F, 0xC4, 0xC5))
INDIRECT = 1
"""In an entry of the exception directory: `unwind` is the place of the entry that it stands for.
Source: winnt.h, RUNTIME_FUNCTION_INDIRECT."""
_UNKNOWN_VERSION = 3
_WRONG_SUM = (
    "its checksum is wrong: the file was changed after it was linked, or is damaged; "
    "build it again, or `editbin /RELEASE` it"
)
_FIXED = (
    ", without relocations (/FIXED), and drivers lie elsewhere: "
    "link with /FIXED:NO (mingw: -shared, or -Wl,--dynamicbase)"
)
_DEEPEST_FORWARD = 8
DEFAULT_COOKIE = 0x2B99_2DDF_A232
"""What the linker leaves in __security_cookie for the loader to replace."""


@dataclass(eq=False, slots=True)
class NativeImage:
    """A compiled driver in memory: the image and what its file said."""

    image: Image
    pe: PeFile
    entry: int
    debug: DebugInformation
    begins: list[int] = field(default_factory=list)

    def function_at(self, address: int) -> RuntimeFunction | None:
        """The exception directory's entry for an address; None for a leaf function."""
        offset = address - self.image.base
        index = bisect_right(self.begins, offset) - 1
        if index < 0 or offset >= self.pe.functions[index].end:
            return None
        found = self.pe.functions[index]
        return self._entry_at(found.unwind & ~INDIRECT) if found.unwind & INDIRECT else found

    def _entry_at(self, place: int) -> RuntimeFunction | None:
        """The entry that another one stands for; None if it lies outside the image."""
        number = self.pe.number
        try:
            return RuntimeFunction(number(place, 4), number(place + 4, 4), number(place + 8, 4))
        except PeError:
            return None

    def entry_of(self, function: RuntimeFunction | None) -> int:
        """Address of an entry of the exception directory, 0 if it is none of this image's."""
        at, size = self.pe.directory(EXCEPTION)
        index = bisect_right(self.begins, function.begin) - 1 if function is not None else -1
        if index < 0 or self.pe.functions[index] != function or 12 * index >= size:
            return 0
        return self.image.base + at + 12 * index

    def vex_places(self) -> list[int]:
        """Addresses of VEX-encoded instructions: in functions of the exception directory, and
        between them, where functions without frames lie."""
        found, pe, base = [], self.pe, self.image.base
        ends = {f.begin: f.end for f in pe.functions}
        for section in pe.sections:
            if not section.executable:
                continue
            at, end = section.address, min(section.end, len(pe.memory))
            starts = sorted(b for b in ends if at <= b < end)
            for begin in (*starts, end):
                for first, last in ((at, begin), (begin, ends.get(begin, begin))):
                    code = bytes(pe.memory[first:last])
                    if not _VEX_BYTES.isdisjoint(code):
                        found += [base + first + place for place in vex_places(code)]
                at = max(at, ends.get(begin, begin))
        return found

    def discarded(self) -> list[Section]:
        """Sections that go when DriverEntry has returned."""
        aligned = [s for s in self.pe.sections if s.address % PAGE_SIZE == 0]
        return [s for s in aligned if s.discardable or s.name == "INIT"]

    def staying(self) -> Iterator[ImageSection]:
        """The sections that stay in memory; those called PAGE or PAGExxxx may be paged out."""
        gone = self.discarded()
        for number, section in enumerate(self.pe.sections):
            if section.address % PAGE_SIZE or section in gone:
                continue
            start = self.image.base + section.address
            end = start + -(-section.size // PAGE_SIZE) * PAGE_SIZE
            handle = self.image.base + self.pe.section_headers + SECTION_HEADER * number
            yield ImageSection(handle, start, end, section.name.startswith("PAGE"))


def read_file(path: Path) -> PeFile:
    """The driver in a file; DriverLoadError says why Windows would not take it."""
    try:
        return PeFile(path.read_bytes())
    except PeError as error:
        raise DriverLoadError(f"{path}: {error}", error.status, str(path)) from error
    except OSError as error:
        text = f"{path}: cannot be read: {error.strerror}"
        raise DriverLoadError(text, ntstatus.STATUS_OBJECT_NAME_NOT_FOUND, str(path)) from error


def _check_unwind_version(pe: PeFile) -> None:
    """PeError for unwind information of version 3, whose codes mean something else."""
    for function in pe.functions:
        place = function.unwind
        if place < len(pe.memory) and not place & 3 and pe.memory[place] & 7 == _UNKNOWN_VERSION:
            text = f"the function at {function.begin:#x} has unwind information of version 3, which"
            raise PeError(f"{text} is not modelled: compile for version 1 or 2")


class ImageLoader:
    """Loads compiled drivers into one machine."""

    def __init__(self, nt: Kernel, exports: ExportTable) -> None:
        self.nt, self.exports = nt, exports
        self.loaded: dict[int, NativeImage] = {}
        self.find_library: Callable[[Path, str], NativeImage | None] = lambda path, module: None

    def load(self, path: Path, name: str | None = None) -> NativeImage:
        """Map the file. Nothing stays mapped if that fails."""
        pe = read_file(path)
        try:
            return self._load(path, pe, name or path.name)
        except PeError as error:
            raise DriverLoadError(f"{path}: {error}", error.status, str(path)) from error

    def _load(self, path: Path, pe: PeFile, name: str) -> NativeImage:
        if pe.checksum and pe.checksum != pe.sum:
            raise PeError(_WRONG_SUM, ntstatus.STATUS_IMAGE_CHECKSUM_MISMATCH)
        _check_unwind_version(pe)
        bindings = [(each.slot, self._bind(path, each)) for each in pe.imports]
        base = self.nt.mm.images.reserve(-(-len(pe.memory) // (16 * PAGE_SIZE)) * 16)
        if pe.stripped and base != pe.base:
            text = f"linked for {pe.base:#x} alone{_FIXED}"
            raise PeError(text, ntstatus.STATUS_CONFLICTING_ADDRESSES)
        memory = self._relocated(pe, base)
        for slot, address in bindings:
            memory[slot : slot + 8] = address.to_bytes(8, "little")
        self._replace_cookie(pe, memory, base)
        for place, routine in zip(pe.guard_pointers, self.exports.guards, strict=True):
            if place:
                memory[place : place + 8] = routine.to_bytes(8, "little")
        image = Image(name, base, len(memory), base + len(memory), base + len(memory))
        image.path = str(path)
        image.integrity = pe.integrity
        debug = DebugInformation(path, pe)
        image.symbols_note = debug.note
        made = NativeImage(image, pe, base + pe.entry, debug, [f.begin for f in pe.functions])
        image.sections = list(made.staying())
        image.pageable = [(s.start, s.end) for s in image.sections if s.pageable]
        _add_symbols(made)
        self._map(made, memory)
        self.loaded[base] = made
        return made

    @staticmethod
    def _relocated(pe: PeFile, base: int) -> bytearray:
        memory = bytearray(pe.memory)
        delta = base - pe.base
        for place in pe.relocations():
            value = int.from_bytes(memory[place : place + 8], "little") + delta
            memory[place : place + 8] = (value & (1 << 64) - 1).to_bytes(8, "little")
        return memory

    @staticmethod
    def _replace_cookie(pe: PeFile, memory: bytearray, base: int) -> None:
        """A cookie of 48 bits, the same in every run; only the linker's value is replaced."""
        place = pe.security_cookie
        if place and memory[place : place + 8] == DEFAULT_COOKIE.to_bytes(8, "little"):
            value = Random(base, "security cookie").next()
            memory[place : place + 6] = value.to_bytes(8, "little")[:6]

    # Imports

    def _bind(self, path: Path, wanted: Import, depth: int = 0) -> int:
        """The address that an import slot gets."""
        if is_kernel_module(wanted.module):
            return self._kernel_import(path, wanted)
        for other in self.loaded.values():
            if other.image.file_name.lower() == wanted.module.lower():
                return self._driver_export(path, wanted, other, depth)
        library = self.find_library(path, wanted.module)
        if library is not None:
            return self._driver_export(path, wanted, library, depth)
        known = what_is(wanted.module)
        text = f"{path}: it imports {wanted.label} from {wanted.module}, "
        text += known or "which is neither loaded nor beside it: put the file there, or load it"
        raise DriverLoadError(text, ntstatus.STATUS_OBJECT_NAME_NOT_FOUND, str(path))

    def _driver_export(self, path: Path, wanted: Import, other: NativeImage, depth: int) -> int:
        """What another compiled driver exports by name or number, or forwards elsewhere."""
        name = other.image.file_name
        if wanted.ordinal is not None:
            place = other.pe.ordinals.get(wanted.ordinal)
            if place is None:
                text = f"{path}: {name} exports nothing as number {wanted.ordinal}"
                raise DriverLoadError(text, ntstatus.STATUS_ORDINAL_NOT_FOUND, str(path))
            return other.image.base + place
        found = other.pe.exports.get(wanted.name)
        if found is not None:
            return other.image.base + found
        module, _, target = other.pe.forwarders.get(wanted.name, "").rpartition(".")
        if not target or depth > _DEEPEST_FORWARD:
            _not_found(path, wanted, f"{name} does not export it")
        file = next((m for m in KERNEL_MODULES if m.startswith(f"{module.lower()}.")), "")
        further = Import(file or f"{module}.sys", target, None, wanted.slot)
        return self._bind(path, further, depth + 1)

    def _kernel_import(self, path: Path, wanted: Import) -> int:
        if wanted.ordinal is not None:
            text = f"{path}: {wanted.module} has no routine number {wanted.ordinal}"
            raise DriverLoadError(text, ntstatus.STATUS_ORDINAL_NOT_FOUND, str(path))
        kind = standing(wanted.name)
        if kind in (Standing.VARIABLE, Standing.UNMODELLED_VARIABLE):
            return self.exports.variable(wanted.name)
        address = self.exports.address(wanted.name)
        if address is None:
            _not_found(path, wanted, f"Windows has no such routine{_hint(wanted.name)}")
        return address

    # Memory

    def _map(self, native: NativeImage, memory: bytearray) -> None:
        """Every page with the rights of the sections in it."""
        mm = self.nt.mm
        base = native.image.base
        for offset in range(0, len(memory), PAGE_SIZE):
            executable, writable = _rights(native.pe, offset)
            pa = mm.frames.take()
            mm.ram.write(pa, bytes(memory[offset : offset + PAGE_SIZE]))
            mm.system.map(base + offset, [pa], executable=executable, writable=writable)
            if executable and not writable:
                mm.system.code.add(pa >> 12)
            if writable:
                mm.mmu.map_raw(base + offset, mm.ram.address + pa, [pa])

    def discard_init(self, native: NativeImage) -> None:
        """DriverEntry has returned: sections marked discardable leave memory."""
        for section in native.discarded():
            pages = -(-section.size // PAGE_SIZE)
            start = native.image.base + section.address
            self._unmap(start, pages)
            native.image.discarded.append((start, start + pages * PAGE_SIZE, section.name))

    def unload(self, native: NativeImage) -> None:
        """The whole image goes; its addresses are not used again, so that a late call shows."""
        del self.loaded[native.image.base]
        self._unmap(native.image.base, native.image.size // PAGE_SIZE)

    def _unmap(self, va: int, pages: int) -> None:
        mm = self.nt.mm
        frames = [mm.mmu.physical(va + i * PAGE_SIZE) for i in range(pages)]
        mm.system.unmap(va, pages)
        for pa in frames:
            if pa is not None:
                mm.system.code.discard(pa >> 12)
                mm.frames.give(pa)


def _rights(pe: PeFile, offset: int) -> tuple[bool, bool]:
    """(executable, writable) of a page: what any section in it asks for."""
    inside = [s for s in pe.sections if s.address < offset + PAGE_SIZE and s.end > offset]
    return any(s.executable for s in inside), any(s.writable for s in inside)


def _add_symbols(native: NativeImage) -> None:
    """Exports, the entry point, and a name for every other function that the file lists: that of
    its debug information or COFF symbols, else its place."""
    image, pe = native.image, native.pe
    named = coff_symbols.function_names(pe)
    named |= {address: name for name, address in pe.exports.items()}
    for function in pe.functions:
        found = native.debug.at(function.begin)
        if found is not None and found.start == function.begin:
            named[function.begin] = found.function
    named.setdefault(pe.entry, "DriverEntry")
    ends = {f.begin: f.end for f in pe.functions}
    for begin in (*ends, *_leaf_functions(pe)):
        named.setdefault(begin, f"sub_{begin:x}")
    for address in sorted(named):
        size = ends.get(address, address) - address
        image.symbols.append(Symbol(named[address], image.base + address, size))
        image.starts.append(image.base + address)


_PADDING = b"\xcc\x90"


def _leaf_functions(pe: PeFile) -> Iterator[int]:
    """Where code goes on behind a function that the exception directory lists, before the next:
    functions that call nothing and keep no register need no entry there."""
    begins = [f.begin for f in pe.functions]
    for index, function in enumerate(pe.functions):
        section = next((s for s in pe.sections if s.address <= function.begin < s.end), None)
        if section is None or not section.executable:
            continue
        end = begins[index + 1] if index + 1 < len(begins) else section.end
        at, end = function.end, min(end, section.address + len(section.data))
        while at < end and pe.memory[at] in _PADDING:
            at += 1
        if at < end and any(pe.memory[at:end]):
            yield at


def _hint(name: str) -> str:
    """What may have been meant by a name that the kernel does not have."""
    if name.startswith(_CPP_RUNTIME):
        return (
            ": C++ exceptions need a runtime that the kernel lacks; compile without them "
            "(/EHs-c-, -fno-exceptions) or link one into the driver"
        )
    near = [n for n in routines.closest(name) if standing(n) is Standing.MODELLED]
    return f": did you mean {near[0]}?" if near else ""


def _not_found(path: Path, wanted: Import, why: str) -> NoReturn:
    text = f"{path}: it imports {wanted.label} from {wanted.module}; {why}"
    raise DriverLoadError(text, ntstatus.STATUS_PROCEDURE_NOT_FOUND, str(path))
