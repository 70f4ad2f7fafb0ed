"""Extended page tables: guest-physical to machine-physical, with the faults that end in VM exits.

Source: SDM 3, "The Extended Page Table Mechanism (EPT)": entry formats, "EPT Misconfigurations",
"EPT Violations", "Accessed and Dirty Flags for EPT", and the exit-qualification table for EPT
violations.
"""

from __future__ import annotations

from dataclasses import dataclass

from ntsim.hw.vmx.capabilities import VmxCapabilities
from ntsim.hw.vmx.guest.modification_log import PageModificationLog
from ntsim.hw.vmx.protocols import Memory
from ntsim.hw.vmx.vmcs import peek, poke

READ, WRITE, FETCH = 1, 2, 4
"""Accesses, as the rights in an entry and as bits 2:0 of an exit qualification."""

_RIGHTS = READ | WRITE | FETCH
_LARGE = 1 << 7
_FRAME = 0x000F_FFFF_FFFF_F000
_LEVELS = (39, 30, 21, 12)
_MEMORY_TYPES = frozenset({0, 1, 4, 5, 6})
_LINEAR_VALID, _OF_TRANSLATION = 1 << 7, 1 << 8
_FLAGS_ON = 1 << 6  # in the EPT pointer
_ACCESSED, _DIRTY, _SUPPRESS_VE = 1 << 8, 1 << 9, 1 << 63


class EptFault(Exception):
    """An EPT violation at guest-physical `address`; with no `qualification` a misconfiguration.

    `log_full`: neither, but a page-modification log without room. `suppressed`: the entry at which
    the walk ended does not let the violation become a virtualization exception.
    """

    def __init__(
        self,
        address: int,
        qualification: int | None,
        linear: int = 0,
        *,
        log_full: bool = False,
        suppressed: bool = False,
    ) -> None:
        super().__init__(address, qualification, linear)
        self.address = address
        self.qualification = qualification
        self.linear = linear
        self.log_full, self.suppressed = log_full, suppressed


@dataclass(frozen=True, slots=True)
class EptPage:
    """What the walk of one guest-physical address found: a page of `size` bytes.

    `path` has the entries on the way, as (their address, what they hold); `suppressed` is bit 63 of
    the last one.
    """

    frame: int
    size: int
    rights: int
    path: tuple[tuple[int, int], ...]
    suppressed: bool


class Ept:
    """The tables below one EPT pointer. Nothing is cached: memory is read at each walk.

    `log` is the page-modification log, None without one.
    """

    def __init__(
        self,
        pointer: int,
        capabilities: VmxCapabilities,
        memory: Memory,
        log: PageModificationLog | None = None,
    ) -> None:
        self.pointer, self.log = pointer, log
        self.has_flags = bool(pointer & _FLAGS_ON)
        self._capabilities, self._memory = capabilities, memory

    def translate(
        self, address: int, access: int, linear: int | None = None, *, of_structure: bool = False
    ) -> int:
        """Machine address of guest-physical `address`; EptFault if EPT does not allow `access`.

        `linear` is the linear address being translated, where there is one; `of_structure` says
        that the access is to one of the guest's paging structures: a write where the EPT pointer
        turns accessed and dirty flags on.
        """
        if of_structure and self.has_flags:
            access = READ | WRITE
        page = self.walk(address)
        if access & ~page.rights:
            raise self.violation(address, access, page, linear, of_structure=of_structure)
        self.use(page, address, access)
        return page.frame | address & page.size - 1

    def look(self, address: int) -> int | None:
        """Machine address of what `address` may read, None if nothing: no access is made."""
        page = self.walk(address)
        return page.frame | address & page.size - 1 if page.rights & READ else None

    def violation(
        self,
        address: int,
        access: int,
        page: EptPage,
        linear: int | None,
        *,
        of_structure: bool = False,
    ) -> EptFault:
        """The violation that `access` to `address` is, with its exit qualification."""
        qualification = access | page.rights << 3
        if linear is not None:
            qualification |= _LINEAR_VALID | (0 if of_structure else _OF_TRANSLATION)
        return EptFault(address, qualification, linear or 0, suppressed=page.suppressed)

    def use(self, page: EptPage, address: int, access: int) -> bool:
        """Set the flags that an allowed access sets; whether `page` is dirty then, or needs not be.

        EptFault if the page-modification log has no room where a flag has to be set. The
        log gets the address of what becomes dirty.
        """
        if not self.has_flags:
            return True
        last = len(page.path) - 1
        wanted = [
            _ACCESSED | (_DIRTY if depth == last and access & WRITE else 0)
            for depth in range(last + 1)
        ]
        if any(flags & ~entry for flags, (_, entry) in zip(wanted, page.path, strict=True)):
            if self.log is not None and not self.log.has_room:
                raise EptFault(address, 0, log_full=True)
            for flags, (place, entry) in zip(wanted, page.path, strict=True):
                if flags & ~entry:
                    poke(self._memory, place, (entry | flags).to_bytes(8, "little"))
            if self.log is not None and wanted[last] & ~page.path[last][1] & _DIRTY:
                self.log.enter(address)
        return bool((page.path[last][1] | wanted[last]) & _DIRTY)

    def walk(self, address: int) -> EptPage:
        """The page that maps `address`; rights 0 where an entry is not present."""
        table, rights = self.pointer & _FRAME, _RIGHTS
        path = []
        for shift in _LEVELS:
            place = table + (address >> shift & 0x1FF) * 8
            entry = int.from_bytes(peek(self._memory, place, 8), "little")
            rights &= entry
            path.append((place, entry))
            if not entry & _RIGHTS:
                return EptPage(0, 1 << 12, 0, tuple(path), bool(entry & _SUPPRESS_VE))
            leaf = shift == 12 or bool(entry & _LARGE and shift in (30, 21))
            if self._misconfigured(entry, shift, leaf):
                raise EptFault(address, None)
            if leaf:
                frame, suppressed = entry & _FRAME & -1 << shift, bool(entry & _SUPPRESS_VE)
                return EptPage(frame, 1 << shift, rights, tuple(path), suppressed)
            table = entry & _FRAME
        raise AssertionError("a walk ends at a page")

    def _misconfigured(self, entry: int, shift: int, leaf: bool) -> bool:
        allowed = entry & _RIGHTS
        caps = self._capabilities
        if allowed & WRITE and not allowed & READ:
            return True
        if allowed == FETCH and not caps.ept_vpid.execute_only:
            return True
        if (entry & _FRAME) >> caps.physical_address_bits:
            return True
        if not leaf:
            return bool(entry & (0xF8 if shift in (39,) else 0x78)) or self._bad_large(entry, shift)
        if entry >> 3 & 7 not in _MEMORY_TYPES:
            return True
        return bool(entry & (1 << shift) - 1 & ~0xFFF) or self._bad_large(entry, shift)

    def _bad_large(self, entry: int, shift: int) -> bool:
        """A page size that the processor does not have."""
        if not entry & _LARGE or shift == 12:
            return False
        ept = self._capabilities.ept_vpid
        return not (ept.pages_1g if shift == 30 else ept.pages_2m and shift == 21)
