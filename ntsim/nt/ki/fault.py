"""Page faults and processor exceptions of code that Python executes.

IRQL in the parameters is what the trap handler saw: 0xFF if interrupts were disabled (RFLAGS.IF
clear), whatever CR8 says; that is how faults in VM-exit handlers are reported (real dumps:
SimpleVisor#35, HyperBone#36).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

from ntsim.abi import bugcodes, ntstatus
from ntsim.abi.ke import KTRAP_FRAME
from ntsim.abi.x86_constants import VECTOR_DB
from ntsim.errors import UnmodelledRoutine
from ntsim.hw.exceptions import INVALID_OPCODE, ProcessorException
from ntsim.hw.mmu import EXECUTE, FAULT_PRESENT, FAULT_RESERVED, WRITE
from ntsim.hw.paging import is_canonical
from ntsim.nt.events import ExceptionRaised
from ntsim.nt.ke.irql import DISPATCH_LEVEL
from ntsim.nt.ki import frames
from ntsim.nt.ki.dispatch import ki_bug_check_dispatch
from ntsim.nt.ki.stack import ki_check_stack
from ntsim.nt.mm import layout
from ntsim.nt.mm.resolve import mi_spring_guard
from ntsim.nt.rtl.exception import StructuredException

if TYPE_CHECKING:
    from ntsim.nt.kernel import Kernel

INTERRUPTS_OFF = 0xFF
DOUBLE_FAULT = 8


def ki_effective_irql(nt: Kernel) -> int:
    """CR8, or 0xFF when RFLAGS.IF is clear."""
    processor = nt.il.current
    return processor.cr8 if processor.interrupts_enabled else INTERRUPTS_OFF


def ki_page_fault(nt: Kernel, va: int, error: int) -> None:
    """#PF of supervisor code: make the page present, or end in what Windows ends in."""
    nt.il.current.cr2 = va
    irql = ki_effective_irql(nt)
    if irql < DISPATCH_LEVEL and nt.mm_resolve(va, error):
        return
    ki_need_stack(nt, nt.thread.storage)
    if not is_canonical(va):
        ki_raise(nt, ntstatus.STATUS_ACCESS_VIOLATION, (0, 0xFFFF_FFFF_FFFF_FFFF), "not canonical")
    refused = error & FAULT_PRESENT and not error & FAULT_RESERVED
    if refused and not layout.is_user_address(va):
        _protection_fault(nt, va, error)
    if irql >= DISPATCH_LEVEL:
        _fault_at_raised_irql(nt, va, error, irql)
    if layout.is_user_address(va):
        kind = 8 if error & EXECUTE else 1 if error & WRITE else 0
        what = {0: "read", 1: "write", 8: "execute"}[kind]
        status = ntstatus.STATUS_ACCESS_VIOLATION
        if mi_spring_guard(nt, va):
            status = ntstatus.STATUS_GUARD_PAGE_VIOLATION
        ki_raise(nt, status, (kind, va), f"{what} of {va:#x}")
    _fault_in_system_space(nt, va, error)


def ki_need_stack(nt: Kernel, rsp: int, rip: int | None = None) -> None:
    """An exception is delivered on the stack in use; where that is no memory, the delivery faults
    as well: a double fault, 0x7F with RSP and RIP in parameters 3 and 4 (dump: asamy/ksm#30)."""
    if nt.mmu.probe(rsp - 8, WRITE) is None:
        code = bugcodes.UNEXPECTED_KERNEL_MODE_TRAP
        nt.bugcheck(code, DOUBLE_FAULT, nt.trap_frame(), rsp, _rip(nt) if rip is None else rip)


def _protection_fault(nt: Kernel, va: int, error: int) -> NoReturn:
    """A present page that forbids the access: 0xBE for a write, 0xFC for an instruction fetch.

    Parameter 3 is the fault's trap frame (sysnative.com, "Debugging Stop 0xFC").
    """
    entry = nt.mm.tables.read(nt.il.current.cr3, va)
    if error & EXECUTE:
        code = bugcodes.ATTEMPTED_EXECUTE_OF_NOEXECUTE_MEMORY
        ki_bug_check_dispatch(nt, code, va, entry, _trap_frame(nt, va, va, error), 2)
    code = bugcodes.ATTEMPTED_WRITE_TO_READONLY_MEMORY
    ki_bug_check_dispatch(nt, code, va, entry, _trap_frame(nt, _rip(nt), va, error), 0xB)


def _trap_frame(nt: Kernel, rip: int, va: int, error: int) -> int:
    """KTRAP_FRAME bytes of a page fault, below the stack pointer."""
    thread = nt.thread
    below = thread.storage - KTRAP_FRAME.size - 16
    if nt.mmu.probe(below, WRITE) is None:
        return nt.trap_frame()
    address = nt.ki.write_trap_frame(thread, below, rip, 0)
    v = KTRAP_FRAME.at(nt.mmu, address)._v
    v.FaultAddress, v.ErrorCode = va, error
    return address


def _fault_at_raised_irql(nt: Kernel, va: int, error: int, irql: int) -> NoReturn:
    """0xD1 for a driver's instruction, else 0xA, or 0xD4 if the kernel looked for something that an
    unloaded driver left behind. Source: ReactOS ntoskrnl/ke/bug.c, KeBugCheckWithTf."""
    access = 8 if error & EXECUTE else 1 if error & WRITE else 0
    frame = frames.instruction_pointer(nt)
    in_driver = frame is not None and not frame.user and frame.image is not nt.nt_image
    code = bugcodes.IRQL_NOT_LESS_OR_EQUAL
    if in_driver:
        code = bugcodes.DRIVER_IRQL_NOT_LESS_OR_EQUAL
    elif not error & EXECUTE and nt.images.unloaded_at(va) is not None:
        code = bugcodes.SYSTEM_SCAN_AT_RAISED_IRQL_CAUGHT_IMPROPER_DRIVER_UNLOAD
    ki_bug_check_dispatch(nt, code, va, irql, access, frame.address if frame else 0, irql=irql)


def _fault_in_system_space(nt: Kernel, va: int, error: int) -> NoReturn:
    """An invalid system address below DISPATCH_LEVEL cannot be caught: 0x50, or 0xCE if it once
    was a driver."""
    kind = 0x10 if error & EXECUTE else 2 if error & WRITE else 0
    if nt.verifier is not None and nt.verifier.special is not None:
        nt.verifier.special.fault(va, error)
    if nt.images.unloaded_at(va) is not None:
        code = bugcodes.DRIVER_UNLOADED_WITHOUT_CANCELLING_PENDING_OPERATIONS
        ki_bug_check_dispatch(nt, code, va, kind, va if kind == 0x10 else _rip(nt), 0)
    ki_bug_check_dispatch(nt, bugcodes.PAGE_FAULT_IN_NONPAGED_AREA, va, kind, _rip(nt), 2)


def _rip(nt: Kernel) -> int:
    frame = frames.instruction_pointer(nt)
    return frame.address if frame else 0


def ki_processor_exception(nt: Kernel, error: ProcessorException) -> NoReturn:
    """#UD, #GP and #DB (DR7.GD) of privileged instructions as exceptions of the running code.

    The general-protection handler decodes the instruction: a privileged one gives
    STATUS_PRIVILEGED_INSTRUCTION (dumps of RDMSR and MOV CR0 faults show c0000096).
    """
    if error.vector == INVALID_OPCODE:
        ki_raise(nt, ntstatus.STATUS_ILLEGAL_INSTRUCTION, (), str(error))
    if error.vector == VECTOR_DB:
        dr = nt.il.current.dr
        dr[6], dr[7] = dr[6] | error.address, dr[7] & ~error.address
        ki_raise(nt, ntstatus.STATUS_SINGLE_STEP, (), str(error))
    ki_raise(nt, ntstatus.STATUS_PRIVILEGED_INSTRUCTION, (), str(error))


def ki_virtualization_exception(nt: Kernel) -> NoReturn:
    """#VE reaches the kernel's own handler: what that does with it is not known.

    A driver that turns EPT-violation #VE on for the running system replaces gate 14H of the IDT.
    """
    nt.fail(UnmodelledRoutine("KiVirtualizationException", "the kernel's handler of #VE"))
    raise AssertionError("the run went on")


def ki_raise(
    nt: Kernel, code: int, information: tuple[int, ...], reason: str, flags: int = 0
) -> NoReturn:
    """Raise a structured exception in the running code; `flags` are ExceptionFlags."""
    name = ntstatus.status_name(code)
    nt.emit_at(ExceptionRaised, name, reason)
    ki_check_stack(nt, f"{name} ({reason})")
    made = StructuredException(code, information, _rip(nt), reason)
    made.ExceptionFlags = flags
    made.stack = frames.capture(nt)
    raise made
