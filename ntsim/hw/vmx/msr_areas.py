"""The MSR lists of VM entries and VM exits: 16-byte entries of index, reserved, 64-bit data.

Source: SDM 3, "Loading MSRs" (VM entry), "Saving MSRs" and "Loading MSRs" (VM exit).
"""

import struct
from collections.abc import Iterator

from ntsim.hw.exceptions import ProcessorException
from ntsim.hw.vmx.protocols import Memory, VmxProcessor
from ntsim.hw.vmx.vmcs import peek, poke

ENTRY_BYTES = 16
_ENTRY = struct.Struct("<IIQ")
_FS_BASE, _GS_BASE = 0xC000_0100, 0xC000_0101
_SMM_MONITOR_CTL = 0x9B
_X2APIC_REGISTERS = 0x8  # bits 31:8 of their indexes
_DATA_OFFSET = 8


def load(processor: VmxProcessor, address: int, count: int) -> int | None:
    """Load `count` MSRs; the 1-based number of the entry that cannot be loaded, if any.

    Entries before it stay loaded, as on silicon.
    """
    for number in range(1, count + 1):
        at = address + (number - 1) * ENTRY_BYTES
        index, reserved, data = _ENTRY.unpack(peek(processor.memory, at, ENTRY_BYTES))
        if reserved or _never_loaded(index):
            return number
        try:
            processor.wrmsr(index, data)
        except ProcessorException:
            return number
    return None


def unloadable(memory: Memory, address: int, count: int) -> Iterator[tuple[int, str]]:
    """1-based number and problem of each entry that no processor loads, whatever its MSRs."""
    for number in range(1, count + 1):
        at = address + (number - 1) * ENTRY_BYTES
        index, reserved, _ = _ENTRY.unpack(peek(memory, at, ENTRY_BYTES))
        if reserved:
            yield number, f"bits 63:32 are {reserved:#x}"
        elif _never_loaded(index):
            yield number, f"MSR {index:#x} is never loaded from a list"


def store(processor: VmxProcessor, address: int, count: int) -> int | None:
    """Store `count` MSRs; the 1-based number of the entry that cannot be stored, if any."""
    for number in range(1, count + 1):
        at = address + (number - 1) * ENTRY_BYTES
        index, reserved, _ = _ENTRY.unpack(peek(processor.memory, at, ENTRY_BYTES))
        if reserved or index >> 8 == _X2APIC_REGISTERS or index == _SMM_MONITOR_CTL:
            return number
        try:
            data = processor.rdmsr(index)
        except ProcessorException:
            return number
        poke(processor.memory, at + _DATA_OFFSET, data.to_bytes(8, "little"))
    return None


def _never_loaded(index: int) -> bool:
    """FS and GS bases have their own fields; the local APIC and SMM are out of reach."""
    return index in (_FS_BASE, _GS_BASE, _SMM_MONITOR_CTL) or index >> 8 == _X2APIC_REGISTERS
