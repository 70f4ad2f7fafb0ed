"""Code and tables of the kernel that patch protection compares with what they were at the start.

It is read through the page tables, in a guest through EPT as well, like any data: so a hook written
into a routine's body is found, and one that a hypervisor shows to instruction fetches only, with a
page for execution only, is not. Drivers' code is not compared, as on Windows, where a driver's own
image is its own affair. The service tables are data.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from ntsim.abi.services import services
from ntsim.nt.mm import layout

if TYPE_CHECKING:
    from ntsim.nt.kernel import Kernel

_PAGE = 0x1000
_SHOWN = 8
"""Bytes of a difference that are reported."""

GENERIC_DATA, FUNCTION_CHANGED = 0, 1

Difference = tuple[int, int, str, int, int]
"""(kind, the routine's or the region's address, name and offset, what the bytes there were, what
they are); the numbers read in the order of the bytes."""


class ProtectedCode:
    """The kernel's code by pages, and its tables: address and contents."""

    def __init__(self, nt: Kernel) -> None:
        self.nt = nt
        self.pages: list[tuple[int, bytes]] = []
        self.tables: list[tuple[int, bytes]] = []

    def add(self, va: int, contents: bytes) -> None:
        """Code that has been mapped at `va`, compared in pieces of a page."""
        for offset in range(0, len(contents), _PAGE):
            self.pages.append((va + offset, contents[offset : offset + _PAGE]))

    def add_table(self, va: int, contents: bytes) -> None:
        """Data that nobody may write to."""
        self.tables.append((va, contents))

    def changed(self) -> Difference | None:
        """As the current processor reads it."""
        return self._compare(self.nt.mmu.read)

    def changed_in_memory(self) -> Difference | None:
        """As memory is, which no processor reads: nothing exits."""
        return self._compare(self._unseen)

    def _unseen(self, va: int, size: int) -> bytes:
        mm = self.nt.mm
        found = mm.tables.translate(mm.system_root, va)
        return b"" if found is None else mm.ram.read(found[0], size)

    def _compare(self, read: Callable[[int, int], bytes]) -> Difference | None:
        for kind, parts in ((FUNCTION_CHANGED, self.pages), (GENERIC_DATA, self.tables)):
            for va, contents in parts:
                found = read(va, len(contents))
                if found != contents:
                    pairs = zip(found, contents, strict=False)
                    at = next((i for i, (now, was) in enumerate(pairs) if now != was), len(found))
                    place = self._routine(va + at) if kind == FUNCTION_CHANGED else va
                    at -= at % 4 if kind == GENERIC_DATA else 0
                    return self._difference(kind, place, va + at, contents[at:], found[at:])
        return None

    def _routine(self, address: int) -> int:
        symbol = self.nt.nt_image.find(address)
        return address if symbol is None else symbol.address

    def _difference(
        self, kind: int, place: int, address: int, contents: bytes, found: bytes
    ) -> Difference:
        name = self.nt.describe_address(address)
        size = _SHOWN
        if kind == GENERIC_DATA:
            entry = ki_entry_name(address)
            name, size = (f"{name} ({entry})", 4) if entry else (name, _SHOWN)
        what = f"{'the code of' if kind == FUNCTION_CHANGED else 'the table'} {name}"
        was, now = (int.from_bytes(part[:size], "big") for part in (contents, found))
        return kind, place, what, was, now


def ki_entry_name(address: int) -> str:
    """The service whose entry of KiServiceTable lies at an address; "" elsewhere."""
    number = address - layout.KI_SERVICE_TABLE >> 2
    return services()[number] if 0 <= number < len(services()) else ""
