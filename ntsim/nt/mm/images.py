"""Loaded images: nt, hal, drivers and user modules, with addresses for every routine.

A Python routine has an address like any other: its code object gets a slot in its image's .text,
four bytes for each of its source lines, and an instruction pointer in it is the slot plus four
times the line. (Not the bytecode's offset: it changes with Python's version and with how warm the
code is.) So stacks, `MajorFunction` tables and dumps name Python code as module!symbol+offset.
Kernel images are KLDR_DATA_TABLE_ENTRY bytes on PsLoadedModuleList.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from types import CodeType
from typing import Any

from ntsim.hw.ram import PAGE_SIZE

SLOT_ALIGNMENT = 16
MORE_TEXT_PAGES = 256
"""What .text grows by; addresses only, since Python code has no bytes."""

BYTES_PER_LINE = 4
EXPORT_BODY = 32
"""An export's body in memory; the slot of the Python code behind it starts after these bytes."""


@cache
def code_size(code: CodeType) -> int:
    """Bytes of .text that a code object takes."""
    lines = [line for _, _, line in code.co_lines() if line is not None]
    return BYTES_PER_LINE * (max(lines, default=code.co_firstlineno) - code.co_firstlineno + 2)


def line_offset(code: CodeType, line: int) -> int:
    """Offset in its slot of the instruction pointer when `line` is being executed."""
    return BYTES_PER_LINE * (max(line, code.co_firstlineno) - code.co_firstlineno + 1)


@dataclass(slots=True)
class Symbol:
    """A named address range of an image. `code` is the Python behind it, if any."""

    name: str
    address: int
    size: int
    code: CodeType | None = None
    file: str = ""


@dataclass(frozen=True, slots=True)
class ImageSection:
    """A section of a compiled driver that stays: its header's address, its pages, whether it was
    built to be paged out."""

    handle: int
    start: int
    end: int
    pageable: bool


@dataclass(eq=False, slots=True)
class Image:
    """A module at `base`. `module_name` is what debuggers print (eh), `file_name` eh.sys.

    `symbols_note` says where a compiled driver's names come from, `pageable` are the address ranges
    that may be paged out, its PAGE sections' as a rule, `section_locks` how often each section is
    locked, by handle, `kept` the frames that MmResetDriverPaging keeps in memory; `literals` the
    string literals placed so far, by text and whether they are wide.
    """

    file_name: str
    base: int
    size: int
    text: int
    text_end: int
    module_name: str = ""
    path: str = ""
    entry_point: int = 0
    rdata: int = 0
    rdata_end: int = 0
    data: int = 0
    data_end: int = 0
    unloaded: bool = False
    symbols: list[Symbol] = field(default_factory=list)
    starts: list[int] = field(default_factory=list)
    slots: dict[CodeType, Symbol] = field(default_factory=dict)
    routines: dict[int, Callable[..., Any]] = field(default_factory=dict)
    addresses: dict[Any, int] = field(default_factory=dict)
    literals: dict[tuple[str, bool], int] = field(default_factory=dict)
    owner: Any = None
    more_text: Callable[[int], int] | None = None
    symbols_note: str = ""
    further: list[tuple[int, int]] = field(default_factory=list)
    pageable: list[tuple[int, int]] = field(default_factory=list)
    sections: list[ImageSection] = field(default_factory=list)
    section_locks: dict[int, int] = field(default_factory=dict)
    kept: list[int] = field(default_factory=list)
    discarded: list[tuple[int, int, str]] = field(default_factory=list)
    integrity: bool = True

    def __post_init__(self) -> None:
        self.module_name = self.module_name or self.file_name.rpartition(".")[0]

    def __contains__(self, address: int) -> bool:
        if self.base <= address < self.base + self.size:
            return True
        return bool(self.further) and any(start <= address < end for start, end in self.further)

    def add_symbol(self, name: str, size: int, code: CodeType | None = None) -> Symbol:
        """The next free range of .text."""
        size = -(-size // SLOT_ALIGNMENT) * SLOT_ALIGNMENT
        if self.text + size > self.text_end:
            self._grow(size)
        address = self.text
        self.text += size
        symbol = Symbol(name, address, size, code, code.co_filename if code else "")
        self.symbols.append(symbol)
        self.starts.append(address)
        if code is not None:
            self.slots[code] = symbol
        return symbol

    def define(self, name: str, address: int, size: int) -> None:
        """Name a range below .text: a variable."""
        index = bisect_right(self.starts, address)
        self.symbols.insert(index, Symbol(name, address, size))
        self.starts.insert(index, address)

    def _grow(self, size: int) -> None:
        """Go on in another address range: a Python driver makes routines while it runs."""
        assert self.more_text is not None, f"{self.file_name}: .text is full"
        pages = max(MORE_TEXT_PAGES, -(-size // PAGE_SIZE))
        self.text = self.more_text(pages)
        self.text_end = self.text + pages * PAGE_SIZE
        self.further.append((self.text, self.text_end))

    def slot_of(self, code: CodeType, name: str) -> Symbol:
        """The slot of a code object, made on first use."""
        return self.slots.get(code) or self.add_symbol(name, code_size(code), code)

    def find_named(self, name: str) -> Symbol | None:
        """The symbol called `name`."""
        return next((symbol for symbol in self.symbols if symbol.name == name), None)

    def find(self, address: int) -> Symbol | None:
        """The symbol at or below `address`."""
        index = bisect_right(self.starts, address) - 1
        return self.symbols[index] if index >= 0 else None

    def describe(self, address: int) -> str:
        """`eh!run_vcpu+0x3c`, or `eh+0x1000` below the first symbol."""
        symbol = self.find(address)
        if symbol is None:
            return f"{self.module_name}+{address - self.base:#x}"
        offset = address - symbol.address
        return f"{self.module_name}!{symbol.name}" + (f"+{offset:#x}" if offset else "")


class Images:
    """Every image of a machine, kernel and user, by address."""

    def __init__(self) -> None:
        self.loaded: list[Image] = []
        self.unloaded: list[Image] = []

    def add(self, image: Image) -> Image:
        self.loaded.append(image)
        return image

    def remove(self, image: Image) -> None:
        self.loaded.remove(image)
        image.unloaded = True
        self.unloaded.append(image)

    def at(self, address: int) -> Image | None:
        """The loaded image that `address` lies in."""
        for image in self.loaded:
            if address in image:
                return image
        return None

    def unloaded_at(self, address: int) -> Image | None:
        """The unloaded image whose range `address` lies in."""
        return next((image for image in self.unloaded if address in image), None)

    def describe(self, address: int) -> str:
        """module!symbol+offset, or the bare address."""
        image = self.at(address)
        return image.describe(address) if image else f"{address:#x}"
