"""RDMSR, WRMSR, RDTSC, RDTSCP, RDPMC.

Source: SDM 3, "Instructions That Cause VM Exits Conditionally" (MSR bitmaps), "Changes to
Instruction Behavior in VMX Non-Root Operation" (TSC offsetting).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ntsim.abi import vmx_constants as abi
from ntsim.hw.exceptions import general_protection, invalid_opcode
from ntsim.hw.vmx.exit_information import ExitInformation
from ntsim.hw.vmx.guest.exits import instruction_exit
from ntsim.hw.vmx.guest.state import Guest
from ntsim.hw.vmx.guest.time import guest_tsc
from ntsim.hw.vmx.protocols import RAX, RCX, RDX
from ntsim.hw.vmx.vmcs import peek

if TYPE_CHECKING:
    from ntsim.hw.engine import Exit

_WRITE_HALF = 0x800
_HIGH_RANGE = 0xC000_0000
_RANGE = 0x2000
_OF_THE_WORLD = frozenset({abi.IA32_FS_BASE, abi.IA32_GS_BASE, abi.IA32_KERNEL_GS_BASE})
_RELOADING = _OF_THE_WORLD | {abi.IA32_EFER}
_LOW_32 = 0xFFFF_FFFF


def _exits(guest: Guest, index: int, write: bool) -> bool:
    """No bitmaps, an index outside both ranges, or its bit: an exit."""
    if not guest.primary & abi.CPU_BASED_USE_MSR_BITMAPS:
        return True
    if index < _RANGE:
        offset = 0
    elif _HIGH_RANGE <= index < _HIGH_RANGE + _RANGE:
        offset, index = 0x400, index - _HIGH_RANGE
    else:
        return True
    offset += (_WRITE_HALF if write else 0) + (index >> 3)
    byte = peek(guest.physical_memory, guest.get(abi.MSR_BITMAP) + offset, 1)[0]
    return bool(byte >> (index & 7) & 1)


def rdmsr(guest: Guest, exit_: Exit) -> ExitInformation | None:
    """RDMSR at CPL 0; the engine has raised #GP elsewhere."""
    index = guest.words[RCX] & _LOW_32
    if _exits(guest, index, write=False):
        return instruction_exit(abi.EXIT_REASON_RDMSR, exit_)
    if index in _OF_THE_WORLD:
        guest.store()
    if index == abi.IA32_TIME_STAMP_COUNTER:
        value = _guest_tsc(guest)
    else:
        value = guest.processor.rdmsr(index)
    guest.set_32(RAX, value)
    guest.set_32(RDX, value >> 32)
    guest.skip(exit_)
    return None


def wrmsr(guest: Guest, exit_: Exit) -> ExitInformation | None:
    """WRMSR at CPL 0."""
    index = guest.words[RCX] & _LOW_32
    if _exits(guest, index, write=True):
        return instruction_exit(abi.EXIT_REASON_WRMSR, exit_)
    value = (guest.words[RDX] & _LOW_32) << 32 | guest.words[RAX] & _LOW_32
    if index not in _RELOADING:
        guest.processor.wrmsr(index, value)
        guest.skip(exit_)
        return None
    guest.store()
    guest.processor.wrmsr(index, value)  # a refused value leaves everything as it was
    guest.load()
    guest.skip(exit_)
    return None


def _guest_tsc(guest: Guest) -> int:
    tsc = guest.processor.rdmsr(abi.IA32_TIME_STAMP_COUNTER)
    assert guest.vmx.current is not None
    return guest_tsc(guest.vmx.current, guest.controls, tsc)


def _read_tsc(guest: Guest, exit_: Exit, reason: int) -> ExitInformation | None:
    """CR4.TSD refuses before RDTSC exiting asks."""
    if guest.cpl and guest.processor.cr4 & abi.CR4_TSD:
        raise general_protection("RDTSC with CR4.TSD outside ring 0")
    if guest.primary & abi.CPU_BASED_RDTSC_EXITING:
        return instruction_exit(reason, exit_)
    tsc = _guest_tsc(guest)
    guest.set_32(RAX, tsc)
    guest.set_32(RDX, tsc >> 32)
    if exit_.mnemonic == "rdtscp":
        guest.set_32(RCX, guest.processor.rdmsr(abi.IA32_TSC_AUX))
    guest.skip(exit_)
    return None


def rdtsc(guest: Guest, exit_: Exit) -> ExitInformation | None:
    """RDTSC."""
    return _read_tsc(guest, exit_, abi.EXIT_REASON_RDTSC)


def rdtscp(guest: Guest, exit_: Exit) -> ExitInformation | None:
    """RDTSCP, which is #UD unless the host enables it."""
    if not guest.secondary & abi.SECONDARY_ENABLE_RDTSCP:
        raise invalid_opcode('RDTSCP without "enable RDTSCP"')
    return _read_tsc(guest, exit_, abi.EXIT_REASON_RDTSCP)


def rdpmc(guest: Guest, exit_: Exit) -> ExitInformation | None:
    """RDPMC: there are no counters to read."""
    if guest.cpl and not guest.processor.cr4 & abi.CR4_PCE:
        raise general_protection("RDPMC without CR4.PCE outside ring 0")
    if guest.primary & abi.CPU_BASED_RDPMC_EXITING:
        return instruction_exit(abi.EXIT_REASON_RDPMC, exit_)
    raise general_protection("RDPMC: the processor has no performance counters")
