"""The guest's linear memory, for what the processor itself reads and writes there.

Event delivery, string I/O and stores of descriptor tables go through here; the guest's own accesses
are the engine's. A linear address is translated by the guest's page tables (SDM 3, "Paging"), and
what they say by EPT where that is on. A page fault is a ProcessorException, an EPT violation or
misconfiguration an `EptFault`.
"""

from ntsim.abi import vmx_constants as abi
from ntsim.hw.exceptions import ProcessorException
from ntsim.hw.vmx.capabilities import VmxCapabilities
from ntsim.hw.vmx.guest.ept import FETCH, READ, WRITE, Ept, EptFault
from ntsim.hw.vmx.protocols import VmxProcessor
from ntsim.hw.vmx.vmcs import peek, poke

_PRESENT, _WRITABLE, _USER = 1 << 0, 1 << 1, 1 << 2
_ACCESSED, _DIRTY, _LARGE = 1 << 5, 1 << 6, 1 << 7
_NX = 1 << 63
_FRAME = 0x000F_FFFF_FFFF_F000
_LONG, _PAE, _LEGACY = (39, 30, 21, 12), (30, 21, 12), (22, 12)
_PAGE = 0x1000


class GuestMemory:
    """Linear memory of the guest on `processor`, with `ept` between it and memory, or None."""

    def __init__(
        self, processor: VmxProcessor, capabilities: VmxCapabilities, ept: Ept | None
    ) -> None:
        self._processor, self._capabilities, self._ept = processor, capabilities, ept
        self._trace: list[int] | None = None
        self._rights = 0, 0

    def read(self, linear: int, size: int, *, user: bool = False) -> bytes:
        """`size` bytes at `linear`."""
        parts = []
        for at, count in _pages(linear, size):
            physical = self.translate(at, READ, user)
            parts.append(peek(self._processor.memory, physical, count))
        return b"".join(parts)

    def read_int(self, linear: int, size: int, *, user: bool = False) -> int:
        """A little-endian integer of `size` bytes."""
        return int.from_bytes(self.read(linear, size, user=user), "little")

    def write(self, linear: int, data: bytes, *, user: bool = False) -> None:
        """Store `data` at `linear`; nothing is stored if a page of it faults."""
        places = [
            (self.translate(at, WRITE, user), at - linear, count)
            for at, count in _pages(linear, len(data))
        ]
        for physical, start, count in places:
            poke(self._processor.memory, physical, data[start : start + count])

    def translate(self, linear: int, access: int, user: bool = False) -> int:
        """Machine address of `linear` for `access`: READ, WRITE or FETCH."""
        physical = self._guest_physical(linear, access, user)
        if self._ept is None:
            return physical
        return self._ept.translate(physical, access, linear)

    def guest_physical(self, linear: int) -> int | None:
        """Where `linear` is, None if nowhere; no access is made and no right looked at."""
        self._trace = []
        try:
            return self._guest_physical(linear, READ, user=False)
        except (ProcessorException, EptFault):
            return None
        finally:
            self._trace = None

    def page_rights(self, linear: int) -> int:
        """Of the linear page: bit 0 a user's, bit 1 writable, bit 2 not executable.

        Without paging all are users', writable and executable (SDM 3, "Exit Qualification for EPT
        Violations").
        """
        p = self._processor
        self._rights = _WRITABLE | _USER, 0
        self.guest_physical(linear)
        grants, forbids = self._rights
        nothing = bool(forbids) and bool(p.efer & abi.EFER_NXE)
        return bool(grants & _USER) | bool(grants & _WRITABLE) << 1 | nothing << 2

    def touches(self, linear: int, physical: int) -> bool | None:
        """How the translation of `linear` touches the guest-physical page of `physical`.

        True: it reads a paging structure there; False: `linear` itself is there; None: not at all.
        """
        trace: list[int] = []
        self._trace = trace
        try:
            found = self._guest_physical(linear, READ, user=False)
        except (ProcessorException, EptFault):
            found = None
        finally:
            self._trace = None
        page = physical >> 12
        if any(place >> 12 == page for place in trace):
            return True
        return None if found is None or found >> 12 != page else False

    def _guest_physical(self, linear: int, access: int, user: bool) -> int:
        p = self._processor
        if not p.cr0 & abi.CR0_PG:
            return linear & 0xFFFF_FFFF
        if p.efer & abi.EFER_LMA:
            if not self._capabilities.is_canonical(linear):
                raise ProcessorException(abi.VECTOR_GP, 0, linear, f"{linear:#x} is not canonical")
            return self._walk(_LONG, p.cr3 & _FRAME, linear, 8, access, user)
        if p.cr4 & abi.CR4_PAE:
            return self._walk(_PAE, p.cr3 & 0xFFFF_FFE0, linear & 0xFFFF_FFFF, 8, access, user)
        return self._walk(_LEGACY, p.cr3 & 0xFFFF_F000, linear & 0xFFFF_FFFF, 4, access, user)

    def _walk(
        self, levels: tuple[int, ...], table: int, linear: int, size: int, access: int, user: bool
    ) -> int:
        """Down the levels; sets accessed flags on the way and the dirty flag at the end."""
        index_mask = 0x1FF if size == 8 else 0x3FF
        grants, forbids = _WRITABLE | _USER, 0
        path = []
        for shift in levels:
            place = table + (linear >> shift & index_mask) * size
            entry = self._entry(place, size, linear)
            if not entry & _PRESENT:
                raise self._fault(linear, access, user, present=False)
            path.append((place, entry))
            directory_pointer = levels is _PAE and shift == 30
            grants &= _WRITABLE | _USER if directory_pointer else entry
            forbids |= entry & _NX if size == 8 else 0
            large = entry & _LARGE and shift in (30, 21, 22) and not directory_pointer
            if shift == 12 or large:
                break
            table = entry & _FRAME
        self._rights = grants, forbids
        if self._refused(grants, forbids, access, user):
            raise self._fault(linear, access, user, present=True)
        if self._trace is None:
            self._mark(path, size, access, linear)
        mask = (1 << shift) - 1
        return entry & _FRAME & ~mask | linear & mask

    def _refused(self, grants: int, forbids: int, access: int, user: bool) -> bool:
        p = self._processor
        if user and not grants & _USER:
            return True
        if access == WRITE and not grants & _WRITABLE and (user or p.cr0 & abi.CR0_WP):
            return True
        return access == FETCH and bool(forbids) and bool(p.efer & abi.EFER_NXE)

    def _fault(self, linear: int, access: int, user: bool, *, present: bool) -> ProcessorException:
        code = abi.PF_PRESENT if present else 0
        code |= abi.PF_WRITE if access == WRITE else 0
        code |= abi.PF_USER if user else 0
        code |= abi.PF_FETCH if access == FETCH else 0
        return ProcessorException(abi.VECTOR_PF, code, linear, f"at linear {linear:#x}")

    def _entry(self, place: int, size: int, linear: int) -> int:
        if self._trace is not None:
            self._trace.append(place)
        if self._ept is not None:
            if self._trace is not None:
                found = self._ept.look(place)
                if found is None:
                    raise EptFault(place, READ, linear)
                place = found
            else:
                place = self._ept.translate(place, READ, linear, of_structure=True)
        return int.from_bytes(peek(self._processor.memory, place, size), "little")

    def _mark(self, path: list[tuple[int, int]], size: int, access: int, linear: int) -> None:
        for number, (place, entry) in enumerate(path):
            last = number == len(path) - 1
            marked = entry | _ACCESSED | (_DIRTY if last and access == WRITE else 0)
            if marked != entry:
                if self._ept is not None:
                    both = READ | WRITE  # as it is reported
                    place = self._ept.translate(place, both, linear, of_structure=True)
                poke(self._processor.memory, place, marked.to_bytes(size, "little"))


def _pages(linear: int, size: int) -> list[tuple[int, int]]:
    """The range as (address, bytes) pieces that do not cross a page."""
    pieces = []
    while size > 0:
        count = min(size, _PAGE - (linear & _PAGE - 1))
        pieces.append((linear, count))
        linear, size = linear + count & 0xFFFF_FFFF_FFFF_FFFF, size - count
    return pieces
