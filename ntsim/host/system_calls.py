"""System calls that machine code handles: LSTAR or the code of KiSystemCall64 has been changed, or
SYSCALL is an invalid opcode that a hypervisor emulates.

The app's SYSCALL becomes an activation: ring 0 with the user's stack and GS, RCX and R11 as the
instruction leaves them, at the address in LSTAR. What lies there runs in the engine; where it jumps
to KiSystemCall64, that code swaps GS, loads the kernel's stack, fills the trap frame and stops at
HLT, from where the service is looked up in Python. Then KiSystemServiceExit runs, up to SYSRET, and
the app goes on. Before SWAPGS the kernel cannot handle a fault: such a run ends by name, as does a
return to user code that is none of the app's.
Source: SDM 2, SYSCALL and SYSRET; Windows Internals 7, part 2, ch. 8.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

from ntsim.abi import ntstatus
from ntsim.abi.ke import KPCR, KTRAP_FRAME
from ntsim.abi.services import service_numbers
from ntsim.errors import UnmodelledRoutine
from ntsim.host.abi_x64 import R8, R9, RAX, RCX, RDI, RDX, RFLAGS, RIP, RSP, Activation
from ntsim.host.kernel_image import SERVICE_EXIT
from ntsim.hw.cpu import (
    EFER_SCE,
    IA32_EFER,
    IA32_FMASK,
    IA32_KERNEL_GS_BASE,
    IA32_LSTAR,
    IA32_STAR,
    RFLAGS_FIXED,
    RFLAGS_IF,
    Processor,
)
from ntsim.hw.engine import Exit, RegisterFile
from ntsim.hw.exceptions import INVALID_OPCODE
from ntsim.hw.vmx.guest.events import intercepted
from ntsim.hw.vmx.interruption import Event
from ntsim.hw.vmx.virtualised import virtualised
from ntsim.nt.ki.fault import ki_raise
from ntsim.nt.ki.service_table import WIN32K
from ntsim.nt.ki.syscall import USER_CS, USER_RFLAGS, USER_SS, ki_end_process, ki_system_service

if TYPE_CHECKING:
    from ntsim.host.native import NativeCode

SYSCALL_LENGTH = 2
R10, R11 = 10, 11
_FLAT = 0xFFFF_FFFF
_KERNEL_CODE, _KERNEL_DATA = 0xA09B, 0xC093
_USER_CODE, _USER_DATA = 0xA0FB, 0xC0F3
_RING_3_FLAGS = 0x3C_7FD7
_ENDING = [service_numbers()[name] for name in ("NtTerminateProcess", "NtTerminateThread")]
_TABLE_BIT = 0x20
"""Of EDI behind KiSystemServiceStart: the second service table."""


class SystemCalls:
    """Part of `NativeCode`."""

    def __init__(self, code: NativeCode) -> None:
        self.code, self.nt = code, code.nt

    def call(self, number: int, rip: int, registers: tuple[int, ...]) -> int:
        """SYSCALL of the current thread; its status. `rip` is the address behind the instruction,
        `registers` are the first four arguments."""
        nt = self.nt
        thread, processor = nt.thread, nt.il.current
        activation = Activation(RegisterFile())
        activation.begin(thread)
        activation.user = rip
        activation.top = thread.stack_base - 8
        words = activation.words
        words[RAX], words[R10], words[RDX], words[R8], words[R9] = number, *registers
        words[RCX] = registers[0]
        words[RIP], words[RSP], words[RFLAGS] = rip - SYSCALL_LENGTH, thread.user_rsp, USER_RFLAGS
        thread.images.append(nt.nt_image)
        thread.in_kernel = True
        try:
            self._in_user_mode(processor)
            self._syscall(activation, number)
            return self.code.run_compiled(activation) & 0xFFFF_FFFF
        finally:
            self._leave_user_mode(nt.il.current)
            thread.images.pop()
            thread.in_kernel = False
            thread.storage = thread.stack_base - KTRAP_FRAME.size

    def _pcr(self, processor: Processor) -> int:
        return int(self.nt.prcb[processor.number]) - KPCR.offset_of("Prcb")

    def _in_user_mode(self, processor: Processor) -> None:
        """Segments and GS bases of user mode, for which Python's user code has no use."""
        processor.cs.set(USER_CS, 0, _FLAT, _USER_CODE)
        processor.ss.set(USER_SS, 0, _FLAT, _USER_DATA)
        processor.cpl = 3
        processor.gs.base = processor.context.v.Teb
        processor.msrs[IA32_KERNEL_GS_BASE] = self._pcr(processor)
        self.code.forget_world(processor)

    def _leave_user_mode(self, processor: Processor) -> None:
        """As the kernel's Python code expects it."""
        processor.cs.set(0x10, 0, 0, _KERNEL_CODE)
        processor.ss.set(0x18, 0, _FLAT, _KERNEL_DATA)
        processor.cpl = 0
        processor.gs.base = self._pcr(processor)
        processor.msrs[IA32_KERNEL_GS_BASE] = 0
        self.code.forget_world(processor)

    def _syscall(self, activation: Activation, number: int) -> None:
        """The instruction, as often as a hypervisor lets it be executed again."""
        words, nt = activation.words, self.nt
        at = words[RIP]
        while words[RIP] == at:
            processor = nt.il.current
            msrs = processor.msrs
            if msrs[IA32_EFER] & EFER_SCE:
                self._entered(activation, processor)
            elif virtualised(processor):
                self._invalid_in_guest(activation)
            else:
                self._invalid(number)
        if words[RIP] == activation.user:
            self.back(activation)

    def _entered(self, activation: Activation, processor: Processor) -> None:
        words, msrs = activation.words, processor.msrs
        words[RCX], words[R11] = activation.user, words[RFLAGS]
        words[RIP] = msrs[IA32_LSTAR]
        words[RFLAGS] = words[RFLAGS] & ~msrs[IA32_FMASK] | RFLAGS_FIXED
        if not words[RFLAGS] & RFLAGS_IF:
            self.nt.disable_interrupts(processor, "SYSCALL (IA32_FMASK)")
        selector = msrs[IA32_STAR] >> 32 & 0xFFFC
        processor.cs.set(selector, 0, _FLAT, _KERNEL_CODE)
        processor.ss.set(selector + 8, 0, _FLAT, _KERNEL_DATA)
        processor.cpl = 0
        self.code.forget_world(processor)

    def _invalid_in_guest(self, activation: Activation) -> None:
        """#UD: an exit, if the exception bitmap says so."""
        guests = self.code.guests
        guest = guests.held(activation)
        information = intercepted(guest, Event.exception(INVALID_OPCODE))
        if information is None:
            self._invalid(activation.words[RAX] & _FLAT)
        assert information is not None
        guests.leave(guest, activation, information)

    def _invalid(self, number: int) -> NoReturn:
        """An exception of the app, which has no way into the kernel: when nobody has handled it,
        not even the call that would end the process is made. The kernel ends it."""
        if number in _ENDING:
            ki_end_process(self.nt, ntstatus.STATUS_ILLEGAL_INSTRUCTION)
        reason = f"#UD: SYSCALL (service {number:#x}) with IA32_EFER.SCE = 0"
        ki_raise(self.nt, ntstatus.STATUS_ILLEGAL_INSTRUCTION, (), reason)
        raise AssertionError("ki_raise came back")

    # In the kernel

    def arrived(self, activation: Activation) -> None:
        """KiSystemCall64's code has run up to HLT: the service, then KiSystemServiceExit."""
        nt, words, thread = self.nt, activation.words, activation.thread
        processor = nt.il.current
        self.code.store_world(processor)
        if activation.user == 0:
            self._stop(activation, "nobody in user mode has called it")
        if processor.gs.base != self._pcr(processor):
            self._stop(activation, "GS base is not the KPCR: SWAPGS was executed twice, or never")
        frame = words[RSP]
        if not thread.stack_limit <= frame <= thread.stack_base - KTRAP_FRAME.size:
            self._stop(activation, f"RSP {frame:#x} is not on the thread's kernel stack")
        number = words[RAX] & WIN32K - 1 | (WIN32K if words[RDI] & _TABLE_BIT else 0)
        registers = words[RCX], words[RDX], words[R8], words[R9]
        thread.storage = frame
        teb = processor.msrs[IA32_KERNEL_GS_BASE]
        processor.msrs[IA32_KERNEL_GS_BASE] = 0  # it may not come back, or on another processor
        self.code.forget_world(processor)
        if not processor.rflags & RFLAGS_IF:
            nt.interrupts_back_on(processor, "STI of KiSystemCall64")
        words[RAX] = ki_system_service(nt, number, KTRAP_FRAME.at(nt.mmu, frame)._v.Rip, registers)
        words[RIP] = SERVICE_EXIT
        processor = nt.il.current
        processor.msrs[IA32_KERNEL_GS_BASE] = teb
        self.code.forget_world(processor)

    def sysret(self, activation: Activation, exit_: Exit) -> None:
        """SYSRET with IA32_EFER.SCE set: back in the app, where it is."""
        nt, words = self.nt, activation.words
        processor = nt.il.current
        self.code.store_world(processor)
        if not processor.msrs[IA32_EFER] & EFER_SCE:
            self._stop(activation, "#UD: SYSRET with IA32_EFER.SCE = 0, on the user's stack")
        if not activation.user:
            self._stop(activation, "SYSRET in code that no system call has entered")
        if processor.gs.base == self._pcr(processor):
            self._stop(activation, "SYSRET without SWAPGS: user mode with the kernel's GS")
        words[RIP], words[RFLAGS] = words[RCX], words[R11] & _RING_3_FLAGS | RFLAGS_FIXED
        if words[RFLAGS] & RFLAGS_IF and not processor.rflags & RFLAGS_IF:
            nt.interrupts_back_on(processor, "SYSRET")
        self.back(activation)

    def back(self, activation: Activation) -> None:
        """In user mode: where the app is, or the run ends. The activation is over."""
        words = activation.words
        if words[RIP] != activation.user:
            self._stop(activation, f"return to user code at {words[RIP]:#x}: apps are in Python")
        words[RIP] = self.code.exports.return_address
        words[RSP] = activation.top + 8

    def _stop(self, activation: Activation, why: str) -> NoReturn:
        where = self.nt.describe_address(activation.words[RIP])
        self.nt.fail(UnmodelledRoutine(where, why))
        raise AssertionError("the run went on")

    def check(self, activation: Activation) -> None:
        """A fault, or a call of Python, in a system call's code: the kernel needs its own GS."""
        processor = self.nt.il.current
        self.code.store_world(processor)
        if processor.gs.base != self._pcr(processor):
            why = "the kernel is entered with the user's GS and stack: SWAPGS has to be first"
            self._stop(activation, why)

