"""Far jumps, far calls and IRET that switch tasks: in a guest that is a VM exit.

The engine would make the switch itself, so it stops before such instructions of 16-bit and 32-bit
protected mode; those that lead to code, or to a call gate, it then executes.
Source: SDM 3, "Treatment of Task Switches", "Task Switching"; SDM 2, CALL, JMP, IRET (their
TASK-GATE, TASK-STATE-SEGMENT and TASK-RETURN parts).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ntsim.abi import vmx_constants as abi
from ntsim.hw.exceptions import ProcessorException
from ntsim.hw.vmx.exit_information import ExitInformation
from ntsim.hw.vmx.guest.delivery import check_task
from ntsim.hw.vmx.guest.ept import EptFault
from ntsim.hw.vmx.guest.operands import FarOperand, far_operand
from ntsim.hw.vmx.guest.state import RFLAGS
from ntsim.hw.vmx.interruption import Event

if TYPE_CHECKING:
    from ntsim.hw.engine import Exit
    from ntsim.hw.vmx.guest.state import Guest

_CALL, _IRET, _JUMP = 0, 1, 2
_SOURCES = {"call": _CALL, "iret": _IRET, "jmp": _JUMP}
_TASK_GATE, _AVAILABLE = 0x5, (0x1, 0x9)
_BUSY = (0x3, 0xB)
_PRESENT, _S = 1 << 7, 1 << 4
_PROGRAM = Event(0, abi.INTR_TYPE_SOFTWARE_INTERRUPT)
"""What error codes are made for: a fault of the program itself (EXT is 0)."""

_RING_3 = 3


def task_switch(guest: Guest, exit_: Exit) -> ExitInformation | None:
    """The exit that the instruction is; None if it switches no task.

    ProcessorException for a fault that comes before the switch.
    """
    guest.store()
    operand = far_operand(guest)
    if operand is None or guest.words[RFLAGS] & abi.RFLAGS_VM:
        return None
    if operand.name == "iret":
        if not guest.words[RFLAGS] & abi.RFLAGS_NT:
            return None
        selector = _link(guest)
    else:
        try:
            found = _target(guest, operand)
        except EptFault:
            return None  # the engine comes to the same
        if found is None:
            return None
        selector = found
    qualification = selector | _SOURCES[operand.name] << 30
    return ExitInformation(abi.EXIT_REASON_TASK_SWITCH, qualification, operand.length)


def _target(guest: Guest, operand: FarOperand) -> int | None:
    """The selector of the TSS that a far pointer leads to; None if it leads to none."""
    try:
        selector = operand.selector
        if operand.place is not None:
            selector = guest.memory.read_int(operand.place, 2, user=guest.cpl == _RING_3)
        kind = _system_descriptor(guest, selector)
    except ProcessorException:
        return None  # the engine comes to the same fault
    if kind is None or kind & 0xF not in (_TASK_GATE, *_AVAILABLE, *_BUSY):
        return None
    code, dpl = selector & ~3, kind >> 5 & 3
    if dpl < guest.cpl or dpl < selector & 3:
        raise ProcessorException(abi.VECTOR_GP, code, 0, f"DPL of selector {selector:#x}")
    if kind & 0xF == _TASK_GATE:
        if not kind & _PRESENT:
            raise ProcessorException(abi.VECTOR_NP, code, 0, f"task gate {selector:#x} is absent")
        selector = _gate_target(guest, selector)
    check_task(guest, selector, _PROGRAM)
    return selector


def _place(guest: Guest, selector: int) -> int | None:
    """Linear address of the descriptor; None for a null selector and beyond the table."""
    p = guest.processor
    table = p.ldtr if selector & 4 else p.gdtr
    unusable = selector & 4 and p.ldtr.access_rights & abi.ACCESS_RIGHTS_UNUSABLE
    if unusable or not selector & ~3 or (selector | 7) > table.limit:
        return None
    return table.base + (selector & ~7)


def _system_descriptor(guest: Guest, selector: int) -> int | None:
    """Type, S, DPL and P of a descriptor that is not of code or data."""
    place = _place(guest, selector)
    if place is None:
        return None
    rights = guest.memory.read_int(place + 5, 1)
    return None if rights & _S else rights


def _gate_target(guest: Guest, selector: int) -> int:
    place = _place(guest, selector)
    assert place is not None
    return guest.memory.read_int(place + 2, 2)


def _link(guest: Guest) -> int:
    """The previous-task link of the TSS; #TS or #NP if it does not lead to a busy TSS."""
    selector = guest.memory.read_int(guest.processor.tr.base, 2)
    code = selector & ~3
    place = None if selector & 4 else _place(guest, selector)
    kind = None if place is None else guest.memory.read_int(place + 5, 1)
    if kind is None or kind & 0x1F not in _BUSY:
        raise ProcessorException(abi.VECTOR_TS, code, 0, f"link {selector:#x} is no busy TSS")
    if not kind & _PRESENT:
        raise ProcessorException(abi.VECTOR_NP, code, 0, f"the TSS of {selector:#x} is absent")
    return selector
