"""Force IRQL checking: pageable system memory is paged out whenever a verified driver raises.

Whoever touches it at DISPATCH_LEVEL or above then faults (0xD1, 0xA), not only when memory happens
to be short: paged pool, and PAGE sections of compiled drivers. Pages come back at the next access
below. A level raised by MOV CR8 itself, as some compilers' headers do, is not seen, as on Windows.
Source: WDK "Force IRQL Checking".
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ntsim.hw.mmu import EXECUTE
from ntsim.hw.ram import PAGE_SIZE
from ntsim.nt.mm import layout
from ntsim.nt.mm.resolve import mi_page_out

if TYPE_CHECKING:
    from ntsim.nt.kernel import Kernel
    from ntsim.nt.mm.images import Image


class ForcedPaging:
    """`resident` are the pageable system pages that are in memory, by page number."""

    def __init__(self, nt: Kernel) -> None:
        self.nt = nt
        self.resident: dict[int, None] = {}
        self.sections: dict[int, list[tuple[int, int]]] = {}
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
            if error & EXECUTE and self.nt.engine is not None:
                self.nt.engine.invalidate_code()

    def note_sections(self, image: Image) -> None:
        """What is pageable of a verified driver can go out, too, from now on."""
        mmu, pageable = self.nt.mmu, image.pageable
        self.sections[image.base] = list(pageable)
        for start, end in pageable:
            for page in range(start, end, PAGE_SIZE):
                if page >> 12 in mmu.raw_pages:
                    mmu.unmap_raw(page)
                self.note(page)

    def trim(self) -> None:
        """Take every pageable page out; those that are locked stay."""
        self.trims += 1
        for image in self.nt.images.loaded:
            known = self.sections.get(image.base, []) == image.pageable
            if not known and self.nt.verifier.verifies(image):
                self.note_sections(image)
        kept = [page for page in self.resident if not mi_page_out(self.nt, page << 12)]
        tables, root = self.nt.mm.tables, self.nt.mm.system_root
        self.resident = {page: None for page in kept if tables.read(root, page << 12) & 1}
