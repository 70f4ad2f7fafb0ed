"""A VMCS: the on-chip copy while it is active, and its region in memory while it is not.

VMPTRLD takes the fields from the region, whatever it held; VMCLEAR and a crash dump put them back.
In between the copy is the truth and memory is stale: software that writes there is noticed when
the region is next used. Nothing initialises a field: where a driver never zeroed the region its
fields are pool poison, and `Vmcs.written` says which ones software has set since VMCLEAR.

The region (SDM 3, "Format of the VMCS Region"): revision identifier (bit 31: shadow VMCS), abort
indicator, then data in a format of the implementation's own. Ours:

    +08  launch state: "clear" and "launched" as four letters; zero is clear too, as in a region
         that was zeroed and never VMCLEARed; anything else, undefined on silicon, is launched
    +0C  which VMX operation launched it: count of VMXONs << 8 | processor
    +10  every supported field at its own width, in ascending encoding order
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import TYPE_CHECKING

from ntsim.abi.vmx_constants import (
    FIELDS,
    GUEST_RFLAGS,
    GUEST_RIP,
    GUEST_RSP,
    VMCS_HIGH,
    VMCS_SHADOW_INDICATOR,
    VMCS_TYPE_CONTROL,
    VMCS_TYPE_GUEST_STATE,
    VMCS_TYPE_HOST_STATE,
)
from ntsim.errors import ConfigurationError
from ntsim.hw.vmx.capabilities import VmxCapabilities
from ntsim.hw.vmx.fields import has_high_half, supported_fields, type_of
from ntsim.hw.vmx.protocols import Memory

if TYPE_CHECKING:
    from ntsim.hw.vmx.guest.controls import Controls
    from ntsim.hw.vmx.transition import HostState

NO_POINTER = 0xFFFF_FFFF_FFFF_FFFF
REVISION_OFFSET = 0
ABORT_OFFSET = 4
LAUNCH_CLEAR = int.from_bytes(b"clr ", "little")
LAUNCH_LAUNCHED = int.from_bytes(b"lnch", "little")
_LAUNCH_OFFSET = 8
_HEADER = struct.Struct("<IIII")
_LOW_32 = 0xFFFF_FFFF
_FORMATS = {16: "H", 32: "I", 64: "Q"}
OF_EVERY_ENTRY = frozenset({GUEST_RIP, GUEST_RSP, GUEST_RFLAGS})
"""What handlers write most. A VM entry reads these fields themselves: nothing is made of them."""


def peek(memory: Memory, pa: int, size: int) -> bytes:
    """Physical memory as the processor sees it: where there is no RAM, all bits read as 1."""
    try:
        return memory.read(pa, size)
    except IndexError:
        return b"\xff" * size


def poke(memory: Memory, pa: int, data: bytes) -> None:
    """Write physical memory as the processor does: where there is no RAM, nothing happens."""
    try:
        memory.write(pa, data)
    except IndexError:
        return


class RegionLayout:
    """Where one processor model keeps each field in a VMCS region."""

    def __init__(self, capabilities: VmxCapabilities) -> None:
        self.encodings = supported_fields(capabilities)
        self.masks = {encoding: (1 << FIELDS[encoding].bits) - 1 for encoding in self.encodings}
        formats = "".join(_FORMATS[FIELDS[encoding].bits] for encoding in self.encodings)
        self._fields = struct.Struct("<" + formats)
        self.size = _HEADER.size + self._fields.size
        room = capabilities.region_size
        if self.size > room:
            raise ConfigurationError(
                f"this CPU model's VMCS takes {self.size} bytes: IA32_VMX_BASIC (480H) has to give "
                f"at least that as region size in bits 44:32, not {room}"
            )

    def unpack(self, region: bytes) -> dict[int, int]:
        """Encoding to value, from the bytes of a region."""
        values = self._fields.unpack_from(region, _HEADER.size)
        return dict(zip(self.encodings, values, strict=True))

    def pack(self, values: dict[int, int]) -> bytes:
        """The fields' bytes, as they go behind the header."""
        return self._fields.pack(*(values[encoding] for encoding in self.encodings))


class Vmcs:
    """An active VMCS: the processor's own copy of the region at `address`.

    `values` maps each supported full encoding to its value. `written` holds the encodings that
    VMWRITE has set since VMCLEAR. `verified` says that a VM entry found everything valid that
    depends on the VMCS alone, `unchecked` holds what VMWRITE has set since.

    `segments`, `host` and `controls` are what was made of fields of the guest-state area, of the
    host-state area and of the control fields, None when one of them has been written since: see
    `transition.py` and `guest/controls.py`. The controls decide how both areas are used, so
    writing one drops all three.
    """

    __slots__ = (
        "address",
        "cleared",
        "controls",
        "host",
        "launch_session",
        "launched",
        "layout",
        "revision",
        "segments",
        "snapshot",
        "unchecked",
        "values",
        "verified",
        "written",
    )

    def __init__(self, address: int, layout: RegionLayout, region: bytes) -> None:
        self.address = address
        self.layout = layout
        self.revision, _, launch, self.launch_session = _HEADER.unpack_from(region)
        self.launched = launch not in (0, LAUNCH_CLEAR)
        self.cleared = launch in (LAUNCH_CLEAR, LAUNCH_LAUNCHED)
        self.values = layout.unpack(region)
        self.written: set[int] = set()
        self.verified = False
        self.unchecked: set[int] = set()
        self.segments: bytes | bytearray | None = None
        self.host: HostState | None = None
        self.controls: Controls | None = None
        self.snapshot = region[: layout.size]

    @property
    def is_shadow(self) -> bool:
        """The shadow-VMCS indicator, bit 31 beside the revision identifier."""
        return bool(self.revision & VMCS_SHADOW_INDICATOR)

    def has(self, encoding: int) -> bool:
        """Whether the processor has this component; an upper half counts for 64-bit fields only."""
        full = encoding & ~VMCS_HIGH
        return full in self.values and (encoding == full or has_high_half(encoding))

    def get(self, encoding: int) -> int:
        """A field by its full encoding; 0 for one that the processor lacks."""
        return self.values.get(encoding, 0)

    def read(self, encoding: int) -> int:
        """VMREAD's view: the field zero-extended, or its upper half."""
        assert self.has(encoding), f"no VMCS component {encoding:#x}"
        value = self.values[encoding & ~VMCS_HIGH]
        return value >> 32 if encoding & VMCS_HIGH else value

    def write(self, encoding: int, value: int) -> None:
        """VMWRITE's view: bits beyond the field are dropped; an upper half leaves the lower one."""
        masks = self.layout.masks
        if encoding not in masks:
            assert self.has(encoding), f"no VMCS component {encoding:#x}"
            encoding &= ~VMCS_HIGH
            value = (value & _LOW_32) << 32 | self.values[encoding] & _LOW_32
        self.values[encoding] = value & masks[encoding]
        self.written.add(encoding)
        self.unchecked.add(encoding)
        if encoding not in OF_EVERY_ENTRY:
            self._forget(encoding)

    def _forget(self, encoding: int) -> None:
        """Drop what was made of the field."""
        kind = type_of(encoding)
        if kind != VMCS_TYPE_HOST_STATE:
            self.segments = None
        if kind != VMCS_TYPE_GUEST_STATE:
            self.host = None
        if kind == VMCS_TYPE_CONTROL:
            self.controls = None

    def put(self, encoding: int, value: int) -> None:
        """The processor's own write, at a VM exit: dropped if it lacks the field."""
        mask = self.layout.masks.get(encoding)
        if mask is not None:
            self.values[encoding] = value & mask

    def never_written(self) -> Iterator[int]:
        """Fields that still hold what the region held when it was cleared, in encoding order."""
        return (encoding for encoding in self.layout.encodings if encoding not in self.written)

    def write_back(self, memory: Memory) -> int | None:
        """Put everything into the region; the offset of the first byte software changed, if any."""
        changed = self._changed_by_software(memory)
        launch = LAUNCH_LAUNCHED if self.launched else LAUNCH_CLEAR
        state = struct.pack("<II", launch, self.launch_session)
        poke(memory, self.address + _LAUNCH_OFFSET, state + self.layout.pack(self.values))
        self.snapshot = peek(memory, self.address, self.layout.size)
        return changed

    def _changed_by_software(self, memory: Memory) -> int | None:
        """First byte that is not as the processor left it; the abort indicator is software's."""
        now = peek(memory, self.address, self.layout.size)
        if now == self.snapshot:
            return None
        for offset, (was, byte) in enumerate(zip(self.snapshot, now, strict=True)):
            if was != byte and not ABORT_OFFSET <= offset < _LAUNCH_OFFSET:
                return offset
        return None


def clear_region(memory: Memory, address: int) -> None:
    """VMCLEAR of a VMCS that is not active here: only its launch state changes."""
    poke(memory, address + _LAUNCH_OFFSET, struct.pack("<II", LAUNCH_CLEAR, 0))


def revision_at(memory: Memory, address: int) -> int:
    """The 32 bits that VMXON and VMPTRLD compare: revision identifier and shadow indicator."""
    return int.from_bytes(peek(memory, address + REVISION_OFFSET, 4), "little")


class VmcsDirectory:
    """What the processors of one machine share: the layout, and who has which VMCS active.

    Silicon keeps no such list: each processor has its own copies and none asks the others. It is
    here to notice a VMCS that is active on two of them.
    """

    def __init__(self, capabilities: VmxCapabilities) -> None:
        self.capabilities = capabilities
        self.layout = RegionLayout(capabilities)
        self._active_on: dict[int, list[int]] = {}

    def add(self, address: int, processor: int) -> None:
        """The VMCS became active on `processor`."""
        holders = self._active_on.setdefault(address, [])
        assert processor not in holders, f"VMCS {address:#x} is active on {processor} already"
        holders.append(processor)

    def remove(self, address: int, processor: int) -> None:
        """The VMCS is no longer active on `processor`."""
        holders = self._active_on[address]
        holders.remove(processor)
        if not holders:
            del self._active_on[address]

    def active_elsewhere(self, address: int, processor: int) -> int | None:
        """Another processor that has the VMCS active: the one that has had it longest."""
        holders = self._active_on.get(address, ())
        return next((holder for holder in holders if holder != processor), None)

    def holders(self, address: int) -> tuple[int, ...]:
        """The processors on which the VMCS is active."""
        return tuple(self._active_on.get(address, ()))
