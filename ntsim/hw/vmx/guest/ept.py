"""Extended page tables: guest-physical to machine-physical, with the faults that end in VM exits.

Source: SDM 3, "The Extended Page Table Mechanism (EPT)": entry formats, "EPT Misconfigurations",
"EPT Violations", and the exit-qualification table for EPT violations.
"""

from dataclasses import dataclass

from ntsim.hw.vmx.capabilities import VmxCapabilities
from ntsim.hw.vmx.protocols import Memory
from ntsim.hw.vmx.vmcs import peek

READ, WRITE, FETCH = 1, 2, 4
"""Accesses, as the rights in an entry and as bits 2:0 of an exit qualification."""

_RIGHTS = READ | WRITE | FETCH
_LARGE = 1 << 7
_FRAME = 0x000F_FFFF_FFFF_F000
_LEVELS = (39, 30, 21, 12)
_MEMORY_TYPES = frozenset({0, 1, 4, 5, 6})
_LINEAR_VALID, _OF_TRANSLATION = 1 << 7, 1 << 8


class EptFault(Exception):
    """An EPT violation at guest-physical `address`; with no `qualification` a misconfiguration."""

    def __init__(self, address: int, qualification: int | None, linear: int = 0) -> None:
        super().__init__(address, qualification, linear)
        self.address = address
        self.qualification = qualification
        self.linear = linear


@dataclass(frozen=True, slots=True)
class EptPage:
    """What the walk of one guest-physical address found: a page of `size` bytes."""

    frame: int
    size: int
    rights: int


class Ept:
    """The tables below one EPT pointer. Nothing is cached: memory is read at each walk."""

    def __init__(self, pointer: int, capabilities: VmxCapabilities, memory: Memory) -> None:
        self.pointer = pointer
        self._capabilities, self._memory = capabilities, memory

    def translate(
        self, address: int, access: int, linear: int | None = None, *, of_structure: bool = False
    ) -> int:
        """Machine address of guest-physical `address`; EptFault if EPT does not allow `access`.

        `linear` is the linear address being translated, where there is one; `of_structure` says
        that the access is to one of the guest's paging structures.
        """
        page = self.walk(address)
        if access & ~page.rights:
            raise self.violation(address, access, page.rights, linear, of_structure=of_structure)
        return page.frame | address & page.size - 1

    def violation(
        self,
        address: int,
        access: int,
        rights: int,
        linear: int | None,
        *,
        of_structure: bool = False,
    ) -> EptFault:
        """The violation that `access` to `address` is, with its exit qualification."""
        qualification = access | rights << 3
        if linear is not None:
            qualification |= _LINEAR_VALID | (0 if of_structure else _OF_TRANSLATION)
        return EptFault(address, qualification, linear or 0)

    def walk(self, address: int) -> EptPage:
        """The page that maps `address`; rights 0 where an entry is not present."""
        table, rights = self.pointer & _FRAME, _RIGHTS
        for shift in _LEVELS:
            place = table + (address >> shift & 0x1FF) * 8
            entry = int.from_bytes(peek(self._memory, place, 8), "little")
            rights &= entry
            if not entry & _RIGHTS:
                return EptPage(0, 1 << 12, 0)
            leaf = shift == 12 or bool(entry & _LARGE and shift in (30, 21))
            if self._misconfigured(entry, shift, leaf):
                raise EptFault(address, None)
            if leaf:
                return EptPage(entry & _FRAME & -1 << shift, 1 << shift, rights)
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
