"""Force IRQL checking: pageable system memory is paged out whenever a verified driver raises.

Whoever touches it at DISPATCH_LEVEL or above then faults (0xD1, 0xA), not only when memory happens
to be short. Pages come back at the next access below. Source: WDK "Force IRQL Checking".
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ntsim.hw.ram import PAGE_SIZE
from ntsim.nt.mm import layout
from ntsim.nt.mm.resolve import mi_page_out

if TYPE_CHECKING:
    from ntsim.nt.kernel import Kernel


class ForcedPaging:
    """`resident` are the pageable system pages that are in memory, by page number."""

    def __init__(self, nt: Kernel) -> None:
        self.nt = nt
        self.resident: dict[int, None] = {}
        self.trims = 0
        mm = nt.mm
        for page in range(mm.paged.base, mm.paged.next, PAGE_SIZE):
            if mm.tables.read(mm.system_root, page) & 1:
                self.note(page)
        self._resolve = nt.mmu.fault
        nt.mmu.fault = self.fault

    def note(self, va: int) -> None:
        """A pageable page is in memory."""
        self.resident[va >> 12] = None

    def fault(self, va: int, error: int) -> None:
        """The kernel's page-fault entry; when it comes back the page is there."""
        self._resolve(va, error)
        if not layout.is_user_address(va):
            self.note(va)

    def trim(self) -> None:
        """Take every pageable page out; those that are locked stay."""
        self.trims += 1
        kept = [page for page in self.resident if not mi_page_out(self.nt, page << 12)]
        tables, root = self.nt.mm.tables, self.nt.mm.system_root
        self.resident = {page: None for page in kept if tables.read(root, page << 12) & 1}
