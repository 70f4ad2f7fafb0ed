"""Delivery of an event through the guest's IDT.

Source: SDM 3, "Exception and Interrupt Handling": gates, "Error Code", "64-Bit Mode Stack Frame",
"Stack Switching in IA-32e Mode"; SDM 3, "Interrupt and Exception Handling in Real-Address Mode".
A task gate of protected mode is `TaskSwitch`: SDM 3, "Treatment of Task Switches".
"""

from __future__ import annotations

from dataclasses import dataclass

from ntsim.abi import vmx_constants as abi
from ntsim.hw.exceptions import ProcessorException
from ntsim.hw.vmx.guest.state import RSP, Guest
from ntsim.hw.vmx.interruption import Event

_IN_IDT, _EXTERNAL = 2, 1
_INTERRUPT_GATE, _TRAP_GATE = 0xE, 0xF
_GATE_16 = 0x6, 0x7
_TASK_GATE, _TSS_16, _TSS_32 = 0x5, 0x1, 0x9
_TSS_LIMITS = {_TSS_16: 0x2B, _TSS_32: 0x67}
_PRESENT = 0x80
_RSP0, _IST1 = 4, 36  # offsets in a 64-bit TSS
_ESP0_32 = 4  # in a 32-bit TSS; SS0 is behind it
_CLEARED = abi.RFLAGS_TF | abi.RFLAGS_NT | abi.RFLAGS_RF | abi.RFLAGS_VM
_CODE, _CONFORMING = 1 << 3, 1 << 2
_S, _L, _DB, _G = 1 << 4, 1 << 13, 1 << 14, 1 << 15
_SS_NULL_RIGHTS = abi.ACCESS_RIGHTS_UNUSABLE


@dataclass(frozen=True, slots=True)
class _Gate:
    selector: int
    offset: int
    ist: int
    kind: int
    dpl: int


class TaskSwitch(Exception):
    """A task gate leads to the available TSS of `selector`: in a guest that is a VM exit."""

    def __init__(self, selector: int) -> None:
        super().__init__(selector)
        self.selector = selector


def deliver(guest: Guest, event: Event) -> None:
    """Push the frame and go to the handler; ProcessorException, EptFault or TaskSwitch instead.

    Nothing of the guest's registers has changed when one is raised.
    """
    guest.store()
    if not guest.processor.cr0 & abi.CR0_PE:
        _deliver_real(guest, event)
    elif guest.processor.efer & abi.EFER_LMA:
        _deliver_long(guest, event)
    else:
        _deliver_protected(guest, event)
    guest.load()


def _return_rip(guest: Guest, event: Event) -> int:
    """Software events return behind their instruction, faults to it."""
    return guest.processor.rip + (event.instruction_length if event.is_software else 0)


def pushed_flags(flags: int, event: Event) -> int:
    """Faults set RF in the image, so that the instruction is not caught by a breakpoint again.

    Not so if a VM entry injects them (SDM 3, "Details of Vectored-Event Injection").
    """
    if event.injected:
        return flags
    fault = event.kind == abi.INTR_TYPE_HARDWARE_EXCEPTION and event.vector != abi.VECTOR_DB
    return flags | abi.RFLAGS_RF if fault else flags


def _idt_error(event: Event) -> int:
    """The error code of a fault at the gate: its vector, IDT, and EXT."""
    return event.vector << 3 | _IN_IDT | _external(event)


def _refuse(vector: int, code: int, reason: str) -> ProcessorException:
    return ProcessorException(vector, code, 0, reason)


def _read_gate(guest: Guest, event: Event, size: int) -> _Gate:
    """The gate of the event's vector, checked for type, privilege and presence."""
    idtr, place = guest.processor.idtr, event.vector * size
    if place + size - 1 > idtr.limit:
        raise _refuse(abi.VECTOR_GP, _idt_error(event), f"vector {event.vector} beyond the IDT")
    raw = guest.memory.read(idtr.base + place, size)
    low = int.from_bytes(raw[:8], "little")
    offset = low & 0xFFFF | low >> 48 << 16
    if size == 16:
        offset |= int.from_bytes(raw[8:12], "little") << 32
    gate = _Gate(low >> 16 & 0xFFFF, offset, low >> 32 & 7, low >> 40 & 0x1F, low >> 45 & 3)
    kinds = (_INTERRUPT_GATE, _TRAP_GATE, *((*_GATE_16, _TASK_GATE) if size == 8 else ()))
    if gate.kind not in kinds:
        raise _refuse(abi.VECTOR_GP, _idt_error(event), f"IDT entry {event.vector} is no gate")
    int1 = event.kind == abi.INTR_TYPE_PRIVILEGED_SOFTWARE_EXCEPTION
    if event.is_software and not int1 and gate.dpl < guest.processor.cpl:
        raise _refuse(abi.VECTOR_GP, _idt_error(event), f"gate {event.vector}: DPL < CPL")
    if not low >> 40 & _PRESENT:
        raise _refuse(abi.VECTOR_NP, _idt_error(event), f"IDT entry {event.vector} is absent")
    return gate


def _external(event: Event) -> int:
    """EXT: the fault is not the program's own, as INT n is."""
    return 0 if event.kind == abi.INTR_TYPE_SOFTWARE_INTERRUPT else _EXTERNAL


def _descriptor(guest: Guest, selector: int, event: Event) -> tuple[int, int, int]:
    """(base, limit in bytes, access rights) of a code or data descriptor."""
    p = guest.processor
    table, limit = (p.ldtr.base, p.ldtr.limit) if selector & 4 else (p.gdtr.base, p.gdtr.limit)
    code = selector & ~7 | selector & 4 | _external(event)
    if not selector & ~7 or (selector | 7) > limit:
        raise _refuse(abi.VECTOR_GP, code, f"selector {selector:#x} of the handler")
    raw = guest.memory.read_int(table + (selector & ~7), 8)
    base = raw >> 16 & 0xFF_FFFF | raw >> 56 << 24
    size = raw & 0xFFFF | raw >> 32 & 0xF_0000
    rights = raw >> 40 & 0xF0FF
    return base, size << 12 | 0xFFF if rights & _G else size, rights


def check_task(guest: Guest, selector: int, event: Event) -> None:
    """What is checked before a task switch exits: an available TSS in the GDT, large enough."""
    code = selector & ~3 | _external(event)
    if selector & 4:
        raise _refuse(abi.VECTOR_GP, code, f"TSS selector {selector:#x} is not of the GDT")
    _, limit, rights = _descriptor(guest, selector, event)
    least = _TSS_LIMITS.get(rights & 0x1F)
    if least is None:
        raise _refuse(abi.VECTOR_GP, code, f"selector {selector:#x} is of no available TSS")
    if not rights & _PRESENT:
        raise _refuse(abi.VECTOR_NP, code, f"the TSS of {selector:#x} is absent")
    if limit < least:
        raise _refuse(abi.VECTOR_TS, code, f"the TSS of {selector:#x} is too small")


def _code_segment(guest: Guest, gate: _Gate, event: Event) -> tuple[int, int, int, int]:
    """(base, limit, rights, new CPL) of the handler's code segment."""
    base, limit, rights = _descriptor(guest, gate.selector, event)
    code = gate.selector & ~3 | _external(event)
    cpl, dpl = guest.processor.cpl, rights >> 5 & 3
    if not rights & _S or not rights & _CODE or dpl > cpl:
        raise _refuse(abi.VECTOR_GP, code, f"handler segment {gate.selector:#x} is unusable")
    if guest.processor.efer & abi.EFER_LMA and (not rights & _L or rights & _DB):
        raise _refuse(abi.VECTOR_GP, code, "the handler is not 64-bit code")
    if not rights & _PRESENT:
        raise _refuse(abi.VECTOR_NP, code, f"handler segment {gate.selector:#x} is absent")
    return base, limit, rights | 1, cpl if rights & _CONFORMING else dpl


def _deliver_long(guest: Guest, event: Event) -> None:
    p = guest.processor
    gate = _read_gate(guest, event, 16)
    base, limit, rights, cpl = _code_segment(guest, gate, event)
    stack = _long_stack(guest, gate, cpl) & ~0xF
    frame = [p.ss.selector, p.rsp, pushed_flags(p.rflags, event), p.cs.selector]
    frame.append(_return_rip(guest, event))
    if event.error_code is not None:
        frame.append(event.error_code)
    for word in frame:
        stack -= 8
        _push(guest, event, stack, word, 8, cpl)
    if cpl != p.cpl:
        p.ss.set(cpl, 0, 0, _SS_NULL_RIGHTS | cpl << 5)
    _enter_handler(guest, gate, (base, limit, rights), cpl, stack)


def _push(guest: Guest, event: Event, at: int, word: int, size: int, cpl: int) -> None:
    """A stack that is not canonical is #SS; one that is not there is #PF."""
    if size == 8 and not guest.vmx.capabilities.is_canonical(at):
        raise _refuse(abi.VECTOR_SS, _external(event), f"stack at {at:#x}")
    mask = (1 << 8 * size) - 1
    guest.memory.write(at, (word & mask).to_bytes(size, "little"), user=cpl == 3)


def _long_stack(guest: Guest, gate: _Gate, cpl: int) -> int:
    """RSP before the frame: from the interrupt stack table, from RSPn, or as it is."""
    p = guest.processor
    if gate.ist:
        place = _IST1 + 8 * (gate.ist - 1)
    elif cpl != p.cpl:
        place = _RSP0 + 8 * cpl
    else:
        return p.rsp
    if place + 7 > p.tr.limit:
        raise _refuse(abi.VECTOR_TS, p.tr.selector & ~3, "the TSS has no stack for the handler")
    return guest.memory.read_int(p.tr.base + place, 8)


def _enter_handler(
    guest: Guest, gate: _Gate, segment: tuple[int, int, int], cpl: int, stack: int
) -> None:
    p = guest.processor
    p.cs.set(gate.selector & ~3 | cpl, *segment)
    p.cpl = cpl
    p.rip, p.rsp = gate.offset, stack
    p.rflags &= ~_CLEARED
    if not gate.kind & 1:
        p.rflags &= ~abi.RFLAGS_IF
    guest.vmx.gpr[RSP] = stack


def _deliver_protected(guest: Guest, event: Event) -> None:
    """32-bit and 16-bit gates of protected mode."""
    p = guest.processor
    gate = _read_gate(guest, event, 8)
    if gate.kind == _TASK_GATE:
        check_task(guest, gate.selector, event)
        raise TaskSwitch(gate.selector)
    base, limit, rights, cpl = _code_segment(guest, gate, event)
    size = 4 if gate.kind & 8 else 2
    frame = [pushed_flags(p.rflags, event), p.cs.selector, _return_rip(guest, event)]
    ss_base, stack = p.ss.base, p.rsp & 0xFFFF_FFFF
    new_ss = None
    if cpl != p.cpl or p.rflags & abi.RFLAGS_VM:
        frame[:0] = [p.ss.selector, p.rsp]
        stack = guest.memory.read_int(p.tr.base + _ESP0_32 + 8 * cpl, 4)
        selector = guest.memory.read_int(p.tr.base + _ESP0_32 + 8 * cpl + 4, 2)
        new_ss = (selector, *_descriptor(guest, selector, event))
        ss_base = new_ss[1]
    if event.error_code is not None:
        frame.append(event.error_code)
    for word in frame:
        stack = stack - size & 0xFFFF_FFFF
        _push(guest, event, ss_base + stack & 0xFFFF_FFFF, word, size, cpl)
    if new_ss is not None:
        p.ss.set(*new_ss)
    offset = gate.offset if size == 4 else gate.offset & 0xFFFF
    target = _Gate(gate.selector, offset, 0, gate.kind, gate.dpl)
    _enter_handler(guest, target, (base, limit, rights), cpl, stack)


def _deliver_real(guest: Guest, event: Event) -> None:
    """The interrupt vector table: FLAGS, CS, IP; no error code."""
    p = guest.processor
    if event.vector * 4 + 3 > p.idtr.limit:
        raise _refuse(abi.VECTOR_GP, 0, f"vector {event.vector} beyond the vector table")
    entry = guest.memory.read_int(p.idtr.base + event.vector * 4, 4)
    stack = p.rsp & 0xFFFF
    for word in (p.rflags, p.cs.selector, _return_rip(guest, event)):
        stack = stack - 2 & 0xFFFF
        _push(guest, event, p.ss.base + stack, word, 2, 0)
    p.cs.selector, p.cs.base = entry >> 16, entry >> 16 << 4
    p.rip, p.rsp = entry & 0xFFFF, p.rsp & ~0xFFFF | stack
    p.rflags &= ~(abi.RFLAGS_IF | abi.RFLAGS_TF | abi.RFLAGS_AC | abi.RFLAGS_RF)
    guest.vmx.gpr[RSP] = p.rsp
