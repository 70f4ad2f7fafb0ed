"""Code of the kernel that patch protection compares with what it was when it was loaded.

It is read through the page tables, in a guest through EPT as well, like any data: so a hook written
into a routine's body is found, and one that a hypervisor shows to instruction fetches only, with a
page for execution only, is not. Drivers' code is not compared, as on Windows, where a driver's own
image is its own affair.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ntsim.nt.kernel import Kernel

_PAGE = 0x1000
_SHOWN = 8
"""Bytes of a difference that are reported."""

Difference = tuple[int, str, int, int]
"""(the routine's address, its name and the offset, what the bytes there were, what they are); the
numbers read in the order of the bytes."""


class ProtectedCode:
    """The kernel's code by pages: address and contents."""

    def __init__(self, nt: Kernel) -> None:
        self.nt = nt
        self.pages: list[tuple[int, bytes]] = []

    def add(self, va: int, contents: bytes) -> None:
        """Code that has been mapped at `va`, compared in pieces of a page."""
        for offset in range(0, len(contents), _PAGE):
            self.pages.append((va + offset, contents[offset : offset + _PAGE]))

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
        for va, contents in self.pages:
            found = read(va, len(contents))
            if found != contents:
                pairs = zip(found, contents, strict=False)
                at = next((i for i, (now, was) in enumerate(pairs) if now != was), len(found))
                return self._difference(va + at, contents[at:], found[at:])
        return None

    def _difference(self, address: int, contents: bytes, found: bytes) -> Difference:
        symbol = self.nt.nt_image.find(address)
        routine = address if symbol is None else symbol.address
        what = f"the code of {self.nt.describe_address(address)}"
        was, now = (int.from_bytes(part[:_SHOWN], "big") for part in (contents, found))
        return routine, what, was, now
