"""Instructions with at most one control each: CPUID, HLT, PAUSE, INVLPG, caches, MONITOR, XSETBV.

Source: SDM 3, "Instructions That Cause VM Exits Unconditionally" and "... Conditionally".
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ntsim.abi import vmx_constants as abi
from ntsim.hw.exceptions import general_protection, invalid_opcode
from ntsim.hw.vmx.exit_information import ExitInformation, often
from ntsim.hw.vmx.guest import pause_loops
from ntsim.hw.vmx.guest.exits import instruction_exit
from ntsim.hw.vmx.guest.io import monitored
from ntsim.hw.vmx.guest.state import Guest

if TYPE_CHECKING:
    from ntsim.hw.engine import Exit

_CPUID_1_ECX_MONITOR = 1 << 3
_RCX = 1


def cpuid(guest: Guest, exit_: Exit) -> ExitInformation | None:
    """Always an exit."""
    return often(abi.EXIT_REASON_CPUID, exit_.instruction_length)


def hlt(guest: Guest, exit_: Exit) -> ExitInformation | None:
    """Without HLT exiting the guest halts: its activity state says so until something wakes it."""
    if guest.primary & abi.CPU_BASED_HLT_EXITING:
        return instruction_exit(abi.EXIT_REASON_HLT, exit_)
    guest.skip(exit_)
    guest.vmx.activity = abi.ACTIVITY_STATE_HLT
    return None


def pause(guest: Guest, exit_: Exit) -> ExitInformation | None:
    """PAUSE exiting, PAUSE-loop exiting, or nothing."""
    loops = guest.secondary & abi.SECONDARY_PAUSE_LOOP_EXITING
    if guest.primary & abi.CPU_BASED_PAUSE_EXITING or (
        loops and pause_loops.ends(guest.vmx, guest.controls, guest.cpl)
    ):
        return instruction_exit(abi.EXIT_REASON_PAUSE, exit_)
    guest.skip(exit_)
    return None


def invlpg(guest: Guest, exit_: Exit) -> ExitInformation | None:
    """Stops the engine with INVLPG exiting only."""
    return instruction_exit(abi.EXIT_REASON_INVLPG, exit_, exit_.operand_address())


def invd(guest: Guest, exit_: Exit) -> ExitInformation | None:
    """Always an exit."""
    return instruction_exit(abi.EXIT_REASON_INVD, exit_)


def wbinvd(guest: Guest, exit_: Exit) -> ExitInformation | None:
    """WBINVD exiting; there are no caches to write back."""
    if guest.secondary & abi.SECONDARY_WBINVD_EXITING:
        return instruction_exit(abi.EXIT_REASON_WBINVD_WBNOINVD, exit_)
    guest.skip(exit_)
    return None


def monitor(guest: Guest, exit_: Exit) -> ExitInformation | None:
    """MONITOR exiting, or a range that nobody watches; its first byte is read all the same.

    SDM 2, MONITOR: #GP(0) for an extension in RCX; paging checks as for a load of one byte.
    """
    _require_monitor(guest)
    if guest.primary & abi.CPU_BASED_MONITOR_EXITING:
        return instruction_exit(abi.EXIT_REASON_MONITOR, exit_)
    if guest.words[_RCX] & guest.operand_mask:
        raise general_protection("MONITOR with an extension in RCX")
    guest.memory.read(monitored(guest, exit_), 1)
    guest.skip(exit_)
    return None


def mwait(guest: Guest, exit_: Exit) -> ExitInformation | None:
    """MWAIT exiting; else it does not wait, as MWAIT need not (its hint may be ignored).

    SDM 2, MWAIT: #GP(0) for an extension in RCX that CPUID.5 does not list.
    """
    _require_monitor(guest)
    if guest.primary & abi.CPU_BASED_MWAIT_EXITING:
        return instruction_exit(abi.EXIT_REASON_MWAIT, exit_)
    break_on_interrupt = guest.processor.model.leaf(5)[2] >> 1 & 1
    if guest.words[_RCX] & guest.operand_mask & ~break_on_interrupt:
        raise general_protection("MWAIT with an extension in RCX that CPUID.5 does not have")
    guest.skip(exit_)
    return None


def _require_monitor(guest: Guest) -> None:
    if guest.cpl or not guest.processor.model.leaf(1)[2] & _CPUID_1_ECX_MONITOR:
        raise invalid_opcode("MONITOR and MWAIT outside ring 0")


def xsetbv(guest: Guest, exit_: Exit) -> ExitInformation | None:
    """Always an exit, where CR4.OSXSAVE lets it be executed."""
    if not guest.processor.cr4 & abi.CR4_OSXSAVE:
        raise invalid_opcode("XSETBV with CR4.OSXSAVE = 0")
    if guest.cpl:
        raise general_protection("XSETBV outside ring 0")
    return instruction_exit(abi.EXIT_REASON_XSETBV, exit_)


def undefined(guest: Guest, exit_: Exit) -> ExitInformation | None:
    """What the modelled processor does not have either."""
    raise invalid_opcode(f"{exit_.mnemonic.upper()} is not supported")
