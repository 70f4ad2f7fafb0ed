"""What the trap code needs from others, under one name."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ntsim.abi import bugcodes
from ntsim.abi.ke import KTRAP_FRAME, KTSS64
from ntsim.abi.rtl import CONTEXT, EXCEPTION_RECORD
from ntsim.hw.exceptions import ProcessorException
from ntsim.nt.events import ExceptionRaised
from ntsim.nt.ke.thread import Thread
from ntsim.nt.ki import frames
from ntsim.nt.ki.apc import STATUS_USER_APC, ki_apc_head, ki_deliver_apcs, ki_enable_apcs
from ntsim.nt.ki.fault import ki_processor_exception
from ntsim.nt.rtl import lists
from ntsim.nt.rtl.exception import StructuredException

if TYPE_CHECKING:
    from ntsim.hw.cpu import Processor
    from ntsim.nt.kernel import Kernel
    from ntsim.nt.ki.integrity import Integrity
    from ntsim.nt.ki.service_table import NtService

USER_APC_PENDING = 2
"""Bit of KAPC_STATE.UserApcPendingAll."""

CONTEXT_FULL = 0x10_000B
EXCEPTION_DOUBLE_FAULT = 8
DOUBLE_FAULT_IST = 1
"""The gate's interrupt stack table index, as in `processor.IST`."""


class Ki:
    """Trap handling of one machine."""

    integrity: Integrity
    deliver: Callable[[Processor, int], None]
    """An interrupt or NMI that the running system takes, through the gate of its vector."""

    def __init__(self, nt: Kernel) -> None:
        self.nt = nt
        self.services: dict[str, NtService] = {}
        self.trap_frames = nt.mmu.pointers.views(KTRAP_FRAME)

    def processor_operation(self, operation: Callable[..., Any], *arguments: Any) -> Any:
        """Do a privileged operation; its #GP or #UD becomes an exception of the running code."""
        while True:
            try:
                return operation(*arguments)
            except ProcessorException as error:
                over = self.nt.il.current.excepted(error)
                if over:
                    return 0
                if over is None:
                    ki_processor_exception(self.nt, error)

    def deliver_apcs(self, thread: Thread) -> None:
        if thread.v.ApcState_KernelApcPending:
            ki_deliver_apcs(self.nt, thread)

    def enable_apcs(self, thread: Any, count: int) -> None:
        ki_enable_apcs(self.nt, thread, count, "KeReleaseMutex")

    def interrupted_wait(self, thread: Thread, mode: int, alertable: bool) -> int | None:
        """STATUS_USER_APC if a user-mode wait must not begin because user APCs are pending."""
        if mode and (thread.v.ApcState_UserApcPendingAll or thread.on_exit):
            return STATUS_USER_APC
        if mode and alertable and not lists.is_empty(self.nt.mmu, ki_apc_head(thread, 1)):
            thread.v.ApcState_UserApcPendingAll |= USER_APC_PENDING
            return STATUS_USER_APC
        return None

    def exit_apcs(self, thread: Thread) -> None:
        """At system-call exit: kernel APCs, then what was queued for the return to user mode."""
        ki_deliver_apcs(self.nt, thread)
        while thread.on_exit:
            thread.on_exit.pop(0)()

    def fast_fail(self, code: int, reason: str) -> None:
        """int 29h: 0x139 with the code, the trap frame and the exception record."""
        nt = self.nt
        frame = frames.instruction_pointer(nt)
        address = frame.address if frame else 0
        error = StructuredException(0xC000_0409, (code,), address, reason)
        record = self.write_exception(nt.thread, error)[1]
        trap = self.write_trap_frame(nt.thread, record + EXCEPTION_RECORD.size, address, code)
        nt.emit_at(ExceptionRaised, "STATUS_STACK_BUFFER_OVERRUN", reason)
        nt.bugcheck(bugcodes.KERNEL_SECURITY_CHECK_FAILURE, code, trap, record, 0)

    def double_fault(self, rsp: int, rip: int, error: StructuredException | None = None) -> None:
        """A stack pointer where no frame can be pushed: 0x7F with 8, the trap frame, RSP and RIP.

        The trap frame lies at the top of the stack that the task-state segment has for vector 8.
        Source: dumps of Windows 10 (sandboxie-plus/Sandboxie issue 141, dokan-dev/dokany issue
        944); before version 1809 parameters 2 and 3 were CR0 and CR4.
        """
        nt = self.nt
        processor = nt.il.current
        stack = KTSS64.at(nt.mmu, processor.tr.base).Ist[DOUBLE_FAULT_IST]
        frame = self.write_trap_frame(nt.thread, stack - KTRAP_FRAME.size, rip, 0)
        KTRAP_FRAME.at(nt.mmu, frame)._v.Rsp = rsp
        code, eight = bugcodes.UNEXPECTED_KERNEL_MODE_TRAP, EXCEPTION_DOUBLE_FAULT
        if error is None:
            nt.bugcheck(code, eight, frame, rsp, rip)
        else:
            nt.stop_for(error, code, eight, frame, rsp, rip)

    def write_trap_frame(self, thread: Thread, below: int, rip: int, rcx: int) -> int:
        """KTRAP_FRAME bytes of a trap in kernel mode, at the first aligned address from `below`."""
        address = -(-below // 16) * 16
        v = KTRAP_FRAME.at(self.nt.mmu, address)._v
        v.Rip, v.Rcx, v.Rsp = rip, rcx, thread.storage
        v.EFlags = self.nt.il.current.rflags
        v.SegCs, v.SegSs = 0x10, 0x18
        return address

    def write_exception(self, thread: Thread, error: StructuredException) -> tuple[int, int]:
        """CONTEXT and EXCEPTION_RECORD bytes on the kernel stack: their addresses.

        Python code has no registers but these few; compiled code has all.
        """
        nt = self.nt
        context_va = thread.stack_limit + 0x100
        record_va = context_va + CONTEXT.size
        if error.registers is not None:
            nt.mmu.write(context_va, error.registers)
        else:
            context = CONTEXT.at(nt.mmu, context_va)
            context._v.ContextFlags = CONTEXT_FULL
            context._v.Rip = error.ExceptionAddress
            context._v.Rsp = thread.storage
            context._v.EFlags = nt.il.current.rflags
            context._v.SegCs, context._v.SegSs = 0x10, 0x18
        record = EXCEPTION_RECORD.at(nt.mmu, record_va)
        record._v.ExceptionCode = error.ExceptionCode
        record._v.ExceptionFlags = error.ExceptionFlags
        record._v.ExceptionAddress = error.ExceptionAddress
        record._v.NumberParameters = len(error.ExceptionInformation)
        for i, value in enumerate(error.ExceptionInformation[:15]):
            record.ExceptionInformation[i] = value
        return context_va, record_va
