"""MOV to and from control registers, CLTS, LMSW, SMSW; MOV to and from debug registers.

Source: SDM 3, "Changes to Instruction Behavior in VMX Non-Root Operation"; qualifications in
"Basic VM-Exit Information".
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ntsim.abi import vmx_constants as abi
from ntsim.hw.exceptions import general_protection, invalid_opcode
from ntsim.hw.vmx.exit_information import ExitInformation
from ntsim.hw.vmx.guest.exits import instruction_exit
from ntsim.hw.vmx.guest.state import Guest

if TYPE_CHECKING:
    from ntsim.hw.engine import Exit

_MOV_FROM, _CLTS, _LMSW = 1 << 4, 2 << 4, 3 << 4
_LMSW_MEMORY = 1 << 6
_LMSW_BITS = abi.CR0_PE | abi.CR0_MP | abi.CR0_EM | abi.CR0_TS
_FROM_DR = 1 << 4


def _masks(guest: Guest, number: int) -> tuple[int, int]:
    """Guest/host mask and read shadow of CR0 or CR4."""
    if number == 0:
        return guest.get(abi.CR0_GUEST_HOST_MASK), guest.get(abi.CR0_READ_SHADOW)
    return guest.get(abi.CR4_GUEST_HOST_MASK), guest.get(abi.CR4_READ_SHADOW)


def _seen(guest: Guest, number: int) -> int:
    """What the guest reads from CR0 or CR4: shadow bits where the host owns them."""
    mask, shadow = _masks(guest, number)
    real = guest.processor.cr0 if number == 0 else guest.processor.cr4
    return shadow & mask | real & ~mask


def _cr_exit(guest: Guest, exit_: Exit, kind: int) -> ExitInformation:
    qualification = exit_.number | kind | exit_.gpr << 8
    return instruction_exit(abi.EXIT_REASON_CR_ACCESS, exit_, qualification)


def cr_read(guest: Guest, exit_: Exit) -> ExitInformation | None:
    """MOV from CR0, CR2, CR3, CR4, CR8; SMSW."""
    if exit_.mnemonic == "smsw":
        _smsw(guest, exit_)
        return None
    number = exit_.number
    if number == 3 and guest.primary & abi.CPU_BASED_CR3_STORE_EXITING:
        return _cr_exit(guest, exit_, _MOV_FROM)
    if number == 8 and guest.primary & abi.CPU_BASED_CR8_STORE_EXITING:
        return _cr_exit(guest, exit_, _MOV_FROM)
    if number in (0, 4):
        value = _seen(guest, number)
    elif number in (2, 3, 8):
        value = {2: guest.processor.cr2, 3: guest.processor.cr3, 8: guest.processor.cr8}[number]
    else:
        raise invalid_opcode(f"there is no CR{number}")
    guest.words[exit_.gpr] = value & guest.operand_mask
    guest.skip(exit_)
    return None


def _smsw(guest: Guest, exit_: Exit) -> None:
    """SMSW never exits; it stores bits of CR0 as the guest sees them."""
    value, instruction = _seen(guest, 0), exit_.instruction
    assert instruction is not None
    if instruction.rm is None:
        guest.memory.write(
            exit_.operand_address(), (value & 0xFFFF).to_bytes(2, "little"), user=guest.cpl == 3
        )
    elif instruction.operand_size == 2:
        guest.words[instruction.rm] = guest.words[instruction.rm] & ~0xFFFF | value & 0xFFFF
    else:
        guest.words[instruction.rm] = value & (1 << 8 * instruction.operand_size) - 1
    guest.skip(exit_)


def cr_write(guest: Guest, exit_: Exit) -> ExitInformation | None:
    """MOV to CR0, CR2, CR3, CR4, CR8; CLTS; LMSW."""
    if exit_.mnemonic == "clts":
        return _clts(guest, exit_)
    if exit_.mnemonic == "lmsw":
        return _lmsw(guest, exit_)
    number = exit_.number
    value = guest.words[exit_.gpr] & guest.operand_mask
    if number in (0, 4):
        return _write_masked(guest, exit_, number, value)
    if number == 3:
        return _write_cr3(guest, exit_, value)
    if number == 8 and guest.primary & abi.CPU_BASED_CR8_LOAD_EXITING:
        return _cr_exit(guest, exit_, 0)
    if number == 8:
        guest.processor.mov_to_cr(8, value)
    elif number == 2:
        guest.processor.cr2 = value
    else:
        raise invalid_opcode(f"there is no CR{number}")
    guest.skip(exit_)
    return None


def _write_masked(guest: Guest, exit_: Exit, number: int, value: int) -> ExitInformation | None:
    """CR0 and CR4: an exit if a bit that the host owns would differ from its shadow."""
    mask, shadow = _masks(guest, number)
    if (value ^ shadow) & mask:
        return _cr_exit(guest, exit_, 0)
    real = guest.processor.cr0 if number == 0 else guest.processor.cr4
    value = value & ~mask | real & mask
    _check_control_register(guest, number, value)
    guest.skip(exit_)
    guest.store()
    _set_control_register(guest, number, value)
    guest.load()
    guest.engine.flush_tlb()
    return None


def _check_control_register(guest: Guest, number: int, value: int) -> None:
    """#GP(0) for a value of CR0 or CR4 that SDM 2 or VMX operation's fixed bits do not allow."""
    capabilities = guest.vmx.capabilities
    fixed = capabilities.cr0 if number == 0 else capabilities.cr4
    missing = fixed.missing(value)
    if number == 0 and guest.secondary & abi.SECONDARY_UNRESTRICTED_GUEST:
        missing &= ~(abi.CR0_PE | abi.CR0_PG)
    if missing or fixed.excess(value):
        raise general_protection(f"MOV to CR{number}: VMX operation does not allow {value:#x}")
    if number == 0:
        _check_cr0(guest, value)
    elif guest.processor.efer & abi.EFER_LMA and not value & abi.CR4_PAE:
        raise general_protection("MOV to CR4: PAE cannot be cleared in IA-32e mode")


def _set_control_register(guest: Guest, number: int, value: int) -> None:
    if number == 0:
        _switch_long_mode(guest, value)
        guest.processor.cr0 = value | abi.CR0_ET
    else:
        guest.processor.cr4 = value


def _check_cr0(guest: Guest, value: int) -> None:
    processor = guest.processor
    if value >> 32:
        raise general_protection("MOV to CR0: bits 63:32 are reserved")
    if value & abi.CR0_PG and not value & abi.CR0_PE:
        raise general_protection("MOV to CR0: PG without PE")
    if value & abi.CR0_NW and not value & abi.CR0_CD:
        raise general_protection("MOV to CR0: NW without CD")
    turns_on = value & abi.CR0_PG and not processor.cr0 & abi.CR0_PG
    if turns_on and processor.efer & abi.EFER_LME and not processor.cr4 & abi.CR4_PAE:
        raise general_protection("MOV to CR0: IA-32e mode needs CR4.PAE")
    if not value & abi.CR0_PG and guest.is_64_bit:
        raise general_protection("MOV to CR0: PG cannot be cleared in 64-bit mode")


def _switch_long_mode(guest: Guest, cr0: int) -> None:
    """LMA follows paging while LME is set; "IA-32e mode guest" follows LMA at the next exit."""
    efer = guest.processor.efer
    if efer & abi.EFER_LME:
        lma = abi.EFER_LMA if cr0 & abi.CR0_PG else 0
        guest.processor.write_msr(abi.IA32_EFER, efer & ~abi.EFER_LMA | lma)


def _write_cr3(guest: Guest, exit_: Exit, value: int) -> ExitInformation | None:
    """No exit for a value among the CR3-target values."""
    if guest.primary & abi.CPU_BASED_CR3_LOAD_EXITING:
        count = guest.get(abi.CR3_TARGET_COUNT)
        targets = [guest.get(abi.CR3_TARGET_VALUE0 + 2 * i) for i in range(count)]
        if value not in targets:
            return _cr_exit(guest, exit_, 0)
    if value >> guest.vmx.capabilities.physical_address_bits:
        raise general_protection(f"MOV to CR3: {value:#x} exceeds the physical-address width")
    guest.processor.cr3 = value
    guest.world.cr3 = value
    guest.engine.flush_tlb()
    guest.skip(exit_)
    return None


def _clts(guest: Guest, exit_: Exit) -> ExitInformation | None:
    """An exit if the host owns TS and its shadow is 1; nothing happens if it is 0."""
    mask, shadow = _masks(guest, 0)
    if mask & abi.CR0_TS:
        if shadow & abi.CR0_TS:
            return instruction_exit(abi.EXIT_REASON_CR_ACCESS, exit_, _CLTS)
        guest.skip(exit_)
        return None
    guest.skip(exit_)
    guest.store()
    guest.processor.cr0 &= ~abi.CR0_TS
    guest.load()
    return None


def _lmsw(guest: Guest, exit_: Exit) -> ExitInformation | None:
    """LMSW can set PE but not clear it."""
    instruction = exit_.instruction
    assert instruction is not None
    memory = instruction.rm is None
    linear = exit_.operand_address() if memory else 0
    if instruction.rm is None:
        source = guest.memory.read_int(linear, 2)
    else:
        source = guest.words[instruction.rm] & 0xFFFF
    mask, shadow = _masks(guest, 0)
    differs = (source ^ shadow) & mask & (_LMSW_BITS & ~abi.CR0_PE)
    sets_pe = source & mask & ~shadow & abi.CR0_PE
    if differs or sets_pe:
        qualification = _LMSW | (_LMSW_MEMORY if memory else 0) | source << 16
        return instruction_exit(abi.EXIT_REASON_CR_ACCESS, exit_, qualification, linear=linear)
    loaded = source & _LMSW_BITS & ~mask
    kept = guest.processor.cr0 & (~_LMSW_BITS | mask | abi.CR0_PE)
    guest.skip(exit_)
    guest.store()
    guest.processor.cr0 = kept | loaded
    guest.load()
    return None


def dr_access(guest: Guest, exit_: Exit) -> ExitInformation | None:
    """MOV DR: with MOV-DR exiting the exit comes before every fault of the instruction."""
    write = exit_.mnemonic == "mov_to_dr"
    instruction = exit_.instruction
    assert instruction is not None
    number = instruction.register
    if guest.primary & abi.CPU_BASED_MOV_DR_EXITING:
        qualification = number & 7 | (0 if write else _FROM_DR) | exit_.gpr << 8
        return instruction_exit(abi.EXIT_REASON_MOV_DR, exit_, qualification)
    if write:
        guest.processor.mov_to_dr(number, guest.words[exit_.gpr] & guest.operand_mask)
        guest.note_debug_registers()
    else:
        guest.words[exit_.gpr] = guest.processor.mov_from_dr(number) & guest.operand_mask
    guest.skip(exit_)
    return None
