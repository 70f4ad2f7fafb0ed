"""The running system as the guest of a driver: how control passes between its code and the handler.

A driver names "go on here as guest" with GUEST_RIP = `restore_stack` and GUEST_RSP = what
`save_stack` put into its slot. After VMLAUNCH that save_stack returns 0, and everything that runs
on the processor from then on is the guest: drivers, the kernel, apps.

The guest keeps its greenlets. An exit (`leave`) switches from the one that executes the instruction
to the processor's VM-exit host stack, where the handler is called; when it returns, the exit stub
executes VMRESUME and switches back. GUEST_RIP of an exit is the address of the line that runs, so
what a handler does with it decides: past the instruction, its results are in the registers; not
moved, it is executed again. `continue_at` goes back without VMX, after VMXOFF.
"""

from __future__ import annotations

import sys
from struct import Struct
from typing import TYPE_CHECKING, Any, NoReturn

from greenlet import getcurrent

from ntsim.abi import ntstatus
from ntsim.abi import vmx_constants as abi
from ntsim.abi.ke import KPCR
from ntsim.errors import UnmodelledCode
from ntsim.host import stacks
from ntsim.host.registers import GuestRegisters
from ntsim.host.repetition import Repetition
from ntsim.host.second_translation import guard_views
from ntsim.host.seh import ContextRestored
from ntsim.hw.cpu import IA32_KERNEL_GS_BASE, RFLAGS_IF, Processor
from ntsim.hw.exceptions import INVALID_OPCODE, MNEMONICS, ProcessorException
from ntsim.hw.vmx.exit_information import ExitInformation
from ntsim.hw.vmx.exits import GuestExit
from ntsim.hw.vmx.interruption import Event
from ntsim.hw.vmx.preemption_timer import expired
from ntsim.hw.vmx.results import WouldExit
from ntsim.hw.vmx.virtualised import VirtualisedProcessor, virtualised
from ntsim.nt.ki import frames
from ntsim.nt.ki.fault import ki_need_stack, ki_processor_exception, ki_raise
from ntsim.nt.ki.stack import FAST_FAIL_INCORRECT_STACK
from ntsim.nt.ki.syscall import ki_unhandled
from ntsim.nt.rtl.exception import StructuredException

if TYPE_CHECKING:
    from ntsim.nt.kernel import Kernel

LONGEST_INSTRUCTION = 15
_GENERAL = Struct("<16Q")
_VECTOR_NMI, _VECTOR_BP = 2, 3
_BETWEEN = (
    abi.EXIT_REASON_CR_ACCESS,
    abi.EXIT_REASON_EXTERNAL_INTERRUPT,
    abi.EXIT_REASON_VMX_PREEMPTION_TIMER,
)
"""After these nothing else comes in: the kernel is in the middle of something."""


class SystemGuest:
    """One processor's part: the guest's greenlet and address while the handler runs.

    `waiting` says that the guest is in an exit; `again` counts exits that repeat; `host` is the
    VM-exit host stack, None if the handler has abandoned it. `activation` is the compiled code that
    exited, None for Python code; `back` whose compiled code the handler has gone back to without
    VMRESUME.
    """

    __slots__ = (
        "activation", "again", "back", "guest", "happened", "host", "rip", "rsp", "waiting",
    )  # fmt: skip

    def __init__(self) -> None:
        self.guest: Any = None
        self.host: Any = None
        self.happened: GuestExit | None = None
        self.rip = self.rsp = 0
        self.again = Repetition()
        self.waiting = False
        self.activation: Any = None
        self.back: Any = None


# Becoming a guest


def takes(nt: Kernel, processor: Processor) -> bool:
    """Whether the VM entry that has been made goes on in Python code."""
    return _goes_on(processor) or _restores(nt, processor.rip)


def _goes_on(processor: Processor) -> bool:
    """The guest that exited last, where it exited or behind the instruction."""
    system = processor.vmx.system
    if system is None or not system.waiting:
        return False
    return system.activation is not None or _offset(processor, system) is not None


def _offset(processor: Processor, system: SystemGuest) -> int | None:
    """How far RIP was moved at an exit; None if it is somewhere else now."""
    moved: int = processor.rip - system.rip
    return moved if 0 <= moved <= LONGEST_INSTRUCTION else None


def _restores(nt: Kernel, rip: int) -> bool:
    from ntsim.host.intrinsics_vmx import restore_stack

    return nt.host.routine_at(rip) is restore_stack


def enter(nt: Kernel, processor: Processor) -> NoReturn:
    """VM entry succeeded, and this stack is abandoned: the guest goes on on its own."""
    system = processor.vmx.system
    if _goes_on(processor):
        system.host = None
        processor.greenlet = system.guest
        system.guest.switch()
        stacks.never_again(nt)
    begin(nt, processor)
    while not can_run(nt, processor):
        leave(nt, processor, ExitInformation(abi.EXIT_REASON_TRIPLE_FAULT))
    _restore(nt, processor)


def begin(nt: Kernel, processor: Processor) -> None:
    """From now on privileged operations of this processor ask the controls."""
    unit = processor.vmx
    if unit.system is None:
        unit.leave_system = lambda cause: leave(nt, processor, cause)
        nt.il.interrupt = lambda on, vector: interrupt(nt, on, vector)
        guard_views(nt, leave)
        nt.touched()
    unit.system = SystemGuest()
    _become_guest(nt, processor)


def _become_guest(nt: Kernel, processor: Processor) -> None:
    """Non-root operation with the guest's state loaded; RFLAGS.IF is what GUEST_RFLAGS says."""
    unit = processor.vmx
    processor.__class__ = VirtualisedProcessor
    pin = unit.current.values[abi.PIN_BASED_VM_EXEC_CONTROL]
    if unit.timer_deadline is not None:
        nt.il.deadlines = True
    if unit.timer_deadline is not None or pin & abi.PIN_BASED_EXTERNAL_INTERRUPT_EXITING:
        nt.il.alarm = lambda on: _between_turns(nt, on)
    if processor.rflags & RFLAGS_IF:
        nt.off_since.pop(processor.number, None)
    else:
        nt.off_since.setdefault(processor.number, (nt.il.now, "the VM entry (GUEST_RFLAGS)"))


def _restore(nt: Kernel, processor: Processor) -> NoReturn:
    """The guest begins in `restore_stack`: RSP is a saved stack, which returns 0."""
    saved = nt.saved_stacks.get(processor.rsp)
    if saved is None or saved.returned or saved.stack.dead:
        reason = f"the guest begins in restore_stack with RSP {processor.rsp:#x}, no saved stack"
        nt.fast_fail(FAST_FAIL_INCORRECT_STACK, reason)
    assert saved is not None
    processor.greenlet = saved.stack
    saved.stack.switch(stacks.Restored(0))
    stacks.never_again(nt)


def can_run(nt: Kernel, processor: Processor, activation: Any = None) -> bool:
    """Whether the kernel survives its first instructions as a guest.

    It reaches its KPCR through GS, also in the handlers of the faults that a wrong GS base or CR3
    leads to: a fault there is a double fault, and one in that handler a triple fault. Code between
    SYSCALL and SWAPGS has it in IA32_KERNEL_GS_BASE.
    """
    pcr = nt.prcb[processor.number] - KPCR.offset_of("Prcb")
    base = processor.gs.base
    if activation is not None and activation.user and base != pcr:
        base = processor.msrs[IA32_KERNEL_GS_BASE]
    return base == pcr and nt.mm.tables.translate(processor.cr3, pcr) is not None


# Exits


def would_exit(processor: Processor, cause: WouldExit) -> bool:
    """A VMX instruction in a guest; whether the hypervisor has gone past it."""
    assert isinstance(processor, VirtualisedProcessor), f"{processor}: {cause} in a Python guest"
    return processor.would_exit(cause)


def leave(nt: Kernel, processor: Processor, cause: ExitInformation, activation: Any = None) -> bool:
    """VM exit, the handler, and the guest again: whether the instruction is over.

    `activation` is whose compiled code executes the instruction, None for Python code. Raises what
    the hypervisor has injected.
    """
    over = _round_trip(nt, processor, cause, activation)
    if not over:
        if cause.reason != abi.EXIT_REASON_VMX_PREEMPTION_TIMER:
            _note_repetition(nt, processor, cause)
        _pass_time(nt, processor, cause)
    event = _injected(processor)
    compiled = activation is not None
    while virtualised(processor):
        following = _following(processor, cause, over, compiled)
        if following is None:
            break
        _round_trip(nt, processor, following, activation)
        _pass_time(nt, processor, following)
        event = event or _injected(processor)
    if event is not None:
        general = bytes(processor.vmx.gpr)
        _deliver(nt, processor, event)
        processor.vmx.gpr[:] = _words(general)
    return over


def _words(general: bytes) -> tuple[int, ...]:
    """General registers put aside while other code may run, and so exit, on the processor."""
    return _GENERAL.unpack(general)


def _note_repetition(nt: Kernel, processor: Processor, cause: ExitInformation) -> None:
    """The instruction is to be executed again."""
    system = processor.vmx.system
    what = cause.qualification, cause.guest_physical_address, system.rip
    system.again.note(nt, cause.reason, *what)
    if processor.interrupts_enabled:
        system.again.end_if_endless(nt, processor, system.rip)


def _pass_time(nt: Kernel, processor: Processor, cause: ExitInformation) -> None:
    """The same instruction again: a step. In the middle of loading CR3 or CR8 nothing comes in."""
    general = bytes(processor.vmx.gpr)
    _step(nt, processor, cause)
    processor.vmx.gpr[:] = _words(general)


def _step(nt: Kernel, processor: Processor, cause: ExitInformation) -> None:
    if cause.reason in _BETWEEN:
        processor.budget -= 1
        if processor.budget < 0:
            nt.il.give_way_in_guest()
    elif processor.vmx.system.again.times and not processor.interrupts_enabled:
        nt.il.spin()
    else:
        nt.il.step()


def _following(
    processor: Processor, cause: ExitInformation, over: bool, compiled: bool
) -> ExitInformation | None:
    """What happens at the next instruction boundary because a control says so.

    Compiled code executes one instruction before the monitor trap flag's (`GuestRuns.stepped`).
    """
    assert isinstance(processor, VirtualisedProcessor)
    primary = processor.controls.primary
    if primary & abi.CPU_BASED_MONITOR_TRAP_FLAG:
        retried = cause.reason == abi.EXIT_REASON_EPT_VIOLATION and not over
        return None if retried or compiled else ExitInformation(abi.EXIT_REASON_MONITOR_TRAP_FLAG)
    blocked = processor.vmx.interruptibility & abi.BLOCKING_BY_NMI
    if primary & abi.CPU_BASED_NMI_WINDOW_EXITING and not blocked:
        return ExitInformation(abi.EXIT_REASON_NMI_WINDOW)
    if primary & abi.CPU_BASED_INTERRUPT_WINDOW_EXITING and processor.rflags & RFLAGS_IF:
        return ExitInformation(abi.EXIT_REASON_INTERRUPT_WINDOW)
    return None


def _round_trip(
    nt: Kernel, processor: Processor, cause: ExitInformation, activation: Any = None
) -> bool:
    """One exit, until the guest goes on or the hypervisor has gone away."""
    unit, here, thread = processor.vmx, getcurrent(), nt.thread
    system, storage = unit.system, thread.storage
    if activation is None:
        processor.rip, processor.rsp = _instruction_pointer(nt), storage
    else:
        activation.into(processor)
    system.activation, system.rip, system.rsp = activation, processor.rip, processor.rsp
    processor.__class__ = Processor
    system.happened = unit.exit(cause)
    if system.waiting or system.host is None or system.host.dead:
        label = f"VM-exit stack of {processor}"
        system.host = stacks.new_stack(
            nt, lambda: _host_stack(nt, processor, system), nt.il.hub, label
        )
    system.guest, system.waiting = here, True
    processor.greenlet = system.host
    nt.il.enter(system.host)
    nt.il.check_closed()
    system.waiting = False
    processor.greenlet = here
    thread.storage = storage
    if system.back is not None:
        system.back = None
        if activation is None:
            raise ContextRestored
        return True
    if unit.in_non_root:
        _become_guest(nt, processor)
    if activation is not None:
        activation.out_of(processor)
    return _arrived(nt, processor, system)


def _instruction_pointer(nt: Kernel) -> int:
    """The address of the innermost line of the kernel, a driver or an app."""
    for frame in frames.frames_from(sys._getframe(2)):
        for found in frames.describe_frames(nt, frame, frame.f_lineno):
            return found.address
    return nt.nt_image.base


def _arrived(nt: Kernel, processor: Processor, system: SystemGuest) -> bool:
    """Where the entry goes on: at the instruction, behind it, or on a stack saved before."""
    unit = processor.vmx
    while virtualised(processor) and not can_run(nt, processor, system.activation):
        _round_trip(nt, processor, ExitInformation(abi.EXIT_REASON_TRIPLE_FAULT))
        nt.il.give_way_in_guest()
    moved = _offset(processor, system)
    if system.activation is not None:
        moved = processor.rip - system.rip
    elif moved is None:
        if _restores(nt, processor.rip):
            _restore(nt, processor)
        nt.fail(UnmodelledCode(nt.describe_address(processor.rip)))
    if virtualised(processor):
        unit.interruptibility &= abi.BLOCKING_BY_NMI
        if unit.activity == abi.ACTIVITY_STATE_HLT:
            _stay_halted(nt, processor)
    return bool(moved)


def _stay_halted(nt: Kernel, processor: Processor) -> None:
    """The VM entry has found HLT as activity state: nothing is executed until something wakes it.

    What it injects does (SDM 3, "Activity State" of VM entries).
    """
    unit = processor.vmx
    general = bytes(unit.gpr)
    while (
        unit.injection is None
        and virtualised(processor)
        and unit.activity == abi.ACTIVITY_STATE_HLT
    ):
        processor.halted = True
        nt.il.give_way()
    unit.activity = abi.ACTIVITY_STATE_ACTIVE
    unit.gpr[:] = _words(general)


def _injected(processor: Processor) -> Event | None:
    unit = processor.vmx
    event: Event | None = unit.injection
    unit.injection = None
    return event


def _deliver(nt: Kernel, processor: Processor, event: Event) -> None:
    """An event that VM entry injects goes through the guest's IDT, which is the kernel's."""
    if event.kind == abi.INTR_TYPE_EXTERNAL_INTERRUPT:
        nt.ki.deliver(processor, event.vector)
    elif event.vector == _VECTOR_NMI:
        _take_nmi(nt, processor)
    elif event.vector == abi.VECTOR_PF:
        nt.mmu.fault(processor.cr2, event.error_code or 0)
    elif event.vector == _VECTOR_BP:
        ki_raise(nt, ntstatus.STATUS_BREAKPOINT, (0,), "#BP, injected by the hypervisor")
    elif event.vector in (INVALID_OPCODE, abi.VECTOR_GP):
        reason = "injected by the hypervisor"
        ki_processor_exception(nt, ProcessorException(event.vector, event.error_code, 0, reason))
    else:
        name = MNEMONICS.get(event.vector, f"vector {event.vector}")
        nt.fail(UnmodelledCode(f"{name} injected into the running system"))


def _take_nmi(nt: Kernel, processor: Processor) -> None:
    """An NMI, which holds further ones off until its handler executes IRET."""
    unit = processor.vmx
    unit.interruptibility |= abi.BLOCKING_BY_NMI
    nt.ki.deliver(processor, _VECTOR_NMI)
    if virtualised(processor):
        unit.interruptibility &= ~abi.BLOCKING_BY_NMI


def interrupt(nt: Kernel, processor: Processor, vector: int) -> None:
    """An interrupt that the processor takes: an exit with external-interrupt exiting."""
    pin = processor.controls.pin if isinstance(processor, VirtualisedProcessor) else 0
    if not pin & abi.PIN_BASED_EXTERNAL_INTERRUPT_EXITING:
        if virtualised(processor):
            processor.awake()
        nt.ki.deliver(processor, vector)
        return
    controls = processor.vmx.current.get(abi.VM_EXIT_CONTROLS)
    if controls & abi.VM_EXIT_ACKNOWLEDGE_INTERRUPT_ON_EXIT:
        event = Event(vector, abi.INTR_TYPE_EXTERNAL_INTERRUPT)
    else:
        event = None
        processor.apic.unaccept(vector)
    cause = ExitInformation(abi.EXIT_REASON_EXTERNAL_INTERRUPT, event=event)
    leave(nt, processor, cause, _interrupted(nt))


def _between_turns(nt: Kernel, processor: Processor) -> None:
    """What is looked at between turns, whatever RFLAGS.IF is: the VMX-preemption timer, and
    external interrupts with external-interrupt exiting."""
    _timer(nt, processor)
    apic = processor.apic
    while apic.requested and not processor.rflags & RFLAGS_IF and _leaves_for_interrupts(processor):
        vector = apic.deliverable(processor.cr8)
        if vector < 0:
            return
        apic.accept(vector)
        interrupt(nt, processor, vector)


def _leaves_for_interrupts(processor: Processor) -> bool:
    if not isinstance(processor, VirtualisedProcessor):
        return False
    return bool(processor.controls.pin & abi.PIN_BASED_EXTERNAL_INTERRUPT_EXITING)


def _timer(nt: Kernel, processor: Processor) -> None:
    """The VMX-preemption timer: an exit if it has expired."""
    deadline = processor.vmx.timer_deadline if virtualised(processor) else None
    if deadline is not None and expired(processor, deadline):
        cause = ExitInformation(abi.EXIT_REASON_VMX_PREEMPTION_TIMER)
        leave(nt, processor, cause, _interrupted(nt))


def _interrupted(nt: Kernel) -> Any:
    """Whose compiled code an interrupt has come between; None if it is Python code."""
    for frame in frames.frames_from(sys._getframe(2)):
        if frame.f_code.co_name == frames.COMPILED:
            activation = frame.f_locals["activation"]
            return None if activation.in_export else activation
        if frames.describe_frame(nt, frame, frame.f_lineno) is not None:
            return None
    return None


# The handler's side


def _host_stack(nt: Kernel, processor: Processor, system: SystemGuest) -> None:
    """The VM-exit host stack: each exit's handler, then the exit stub's VMRESUME."""
    unit = processor.vmx
    registers = GuestRegisters.from_buffer(unit.gpr)
    while True:
        happened: Any = system.happened
        while isinstance(happened, GuestExit):
            stacks.call_handler(nt, processor, happened, registers)
            happened = _resume(nt)
        if nt.il.current is not processor or not takes(nt, processor):
            nt.fail(UnmodelledCode(nt.describe_address(nt.il.current.rip)))
        processor.greenlet = system.guest
        system.guest.switch()


def _resume(nt: Kernel) -> Any:
    """VMRESUME of the exit stub, which has nothing to go back to if it fails."""
    try:
        return stacks.resume(nt, nt.il.current, nt.il.current.vmx.vmresume)
    except StructuredException as error:
        ki_unhandled(nt, error, interrupt=True)


def continue_at(nt: Kernel, processor: Processor, rip: int, rsp: int) -> None:
    """The guest of the exit being handled goes on at `rip`, in whatever mode the processor is."""
    system = processor.vmx.system
    if system is None or not system.waiting or rsp != system.rsp:
        ki_need_stack(nt, rsp, rip)
        reason = f"continue_at({rip:#x}, {rsp:#x}): no VM exit left that stack"
        nt.fast_fail(FAST_FAIL_INCORRECT_STACK, reason)
        return
    processor.rip, processor.rsp = rip, rsp
    system.host = None
    processor.greenlet = system.guest
    system.guest.switch()
    stacks.never_again(nt)
