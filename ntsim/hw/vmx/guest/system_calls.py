"""SYSCALL, SYSRET, SYSENTER, SYSEXIT: the engine leaves them to us (SDM 2, their operation)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ntsim.abi import vmx_constants as abi
from ntsim.hw.exceptions import general_protection, invalid_opcode
from ntsim.hw.vmx.exit_information import ExitInformation
from ntsim.hw.vmx.guest.state import Guest
from ntsim.hw.vmx.protocols import RCX, RDX

if TYPE_CHECKING:
    from ntsim.hw.engine import Exit

_R11 = 11
_FLAT = 0xFFFF_FFFF
_CODE_64, _CODE_32, _DATA = 0xA09B, 0xC09B, 0xC093
_RING_3 = 3 << 5


def syscall(guest: Guest, exit_: Exit) -> ExitInformation | None:
    """SYSCALL in IA-32e mode."""
    _require_enabled(guest)
    guest.store()
    p = guest.processor
    guest.vmx.gpr[RCX] = p.rip + exit_.instruction_length
    guest.vmx.gpr[_R11] = p.rflags & ~abi.RFLAGS_RF
    p.rip = p.read_msr(abi.IA32_LSTAR if guest.is_64_bit else abi.IA32_CSTAR)
    p.rflags = p.rflags & ~p.read_msr(abi.IA32_FMASK) & ~abi.RFLAGS_RF | abi.RFLAGS_FIXED1
    selector = p.read_msr(abi.IA32_STAR) >> 32 & 0xFFFC
    p.cs.set(selector, 0, _FLAT, _CODE_64)
    p.ss.set(selector + 8, 0, _FLAT, _DATA)
    p.cpl = 0
    guest.load()
    return None


def sysret(guest: Guest, exit_: Exit) -> ExitInformation | None:
    """SYSRET at CPL 0, to 64-bit code with REX.W, else to 32-bit code."""
    _require_enabled(guest)
    if guest.cpl:
        raise general_protection("SYSRET outside ring 0")
    guest.store()
    p, gpr = guest.processor, guest.vmx.gpr
    instruction = exit_.instruction
    wide = instruction is not None and instruction.operand_size == 8
    target = gpr[RCX]
    if wide and not guest.vmx.capabilities.is_canonical(target):
        raise general_protection(f"SYSRET to {target:#x}, which is not canonical")
    p.rip = target if wide else target & _FLAT
    p.rflags = gpr[_R11] & 0x3C7FD7 | abi.RFLAGS_FIXED1
    selector = p.read_msr(abi.IA32_STAR) >> 48
    code = _CODE_64 if wide else _CODE_32
    p.cs.set((selector + 16 if wide else selector) | 3, 0, _FLAT, code | _RING_3)
    p.ss.set(selector + 8 | 3, 0, _FLAT, _DATA | _RING_3)
    p.cpl = 3
    guest.load()
    return None


def sysenter(guest: Guest, exit_: Exit) -> ExitInformation | None:
    """SYSENTER to ring 0, by the three MSRs."""
    guest.store()
    p = guest.processor
    selector = _sysenter_selector(guest)
    long_mode = bool(p.efer & abi.EFER_LMA)
    width = (1 << 64) - 1 if long_mode else _FLAT
    p.rip = p.read_msr(abi.IA32_SYSENTER_EIP) & width
    p.rsp = p.read_msr(abi.IA32_SYSENTER_ESP) & width
    p.rflags &= ~(abi.RFLAGS_VM | abi.RFLAGS_IF | abi.RFLAGS_RF)
    p.cs.set(selector, 0, _FLAT, _CODE_64 if long_mode else _CODE_32)
    p.ss.set(selector + 8, 0, _FLAT, _DATA)
    p.cpl = 0
    guest.load()
    return None


def sysexit(guest: Guest, exit_: Exit) -> ExitInformation | None:
    """SYSEXIT to ring 3: RIP from RDX, RSP from RCX; to 64-bit code with REX.W."""
    if guest.cpl:
        raise general_protection("SYSEXIT outside ring 0")
    instruction = exit_.instruction
    wide = instruction is not None and instruction.operand_size == 8
    target, stack = guest.words[RDX], guest.words[RCX]
    canonical = guest.vmx.capabilities.is_canonical
    if wide and not (canonical(target) and canonical(stack)):
        raise general_protection("SYSEXIT to an address that is not canonical")
    guest.store()
    p = guest.processor
    selector = _sysenter_selector(guest) + (32 if wide else 16)
    p.rip, p.rsp = (target, stack) if wide else (target & _FLAT, stack & _FLAT)
    p.cs.set(selector | 3, 0, _FLAT, (_CODE_64 if wide else _CODE_32) | _RING_3)
    p.ss.set(selector + 8 | 3, 0, _FLAT, _DATA | _RING_3)
    p.cpl = 3
    guest.load()
    return None


def _sysenter_selector(guest: Guest) -> int:
    selector = guest.processor.read_msr(abi.IA32_SYSENTER_CS) & 0xFFFC
    if not selector:
        raise general_protection("SYSENTER and SYSEXIT with IA32_SYSENTER_CS = 0")
    return selector


def _require_enabled(guest: Guest) -> None:
    if not guest.processor.efer & abi.EFER_SCE:
        raise invalid_opcode("SYSCALL and SYSRET with IA32_EFER.SCE = 0")
    if not guest.processor.efer & abi.EFER_LMA:
        raise invalid_opcode("SYSCALL and SYSRET outside IA-32e mode")
