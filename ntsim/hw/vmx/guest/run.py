"""The run loop of a guest: what stops the engine exits, is emulated, or is delivered."""

from __future__ import annotations

from collections.abc import Callable

from ntsim.abi import vmx_constants as abi
from ntsim.hw.engine import Exit
from ntsim.hw.engine import ExitKind as K
from ntsim.hw.exceptions import ProcessorException
from ntsim.hw.vmx.events import GuestMetEngineLimit
from ntsim.hw.vmx.exit_information import ExitInformation
from ntsim.hw.vmx.exits import GuestExit, perform
from ntsim.hw.vmx.guest import (
    breakpoints,
    control_registers,
    invpcid,
    io,
    msrs,
    plain,
    system_calls,
    tables,
    unseen,
    vmx_instructions,
)
from ntsim.hw.vmx.guest.boundary import SHADOW, boundary, first_boundary, raise_debug, watched
from ntsim.hw.vmx.guest.ept import EptFault
from ntsim.hw.vmx.guest.events import DR6_BS, ept_event, event_of, raise_event
from ntsim.hw.vmx.guest.nested_faults import nested_fault, run_one
from ntsim.hw.vmx.guest.operands import far_operand
from ntsim.hw.vmx.guest.state import RFLAGS, Guest
from ntsim.hw.vmx.guest.task_switches import task_switch
from ntsim.hw.vmx.interruption import Event
from ntsim.hw.vmx.preemption_timer import instructions_left
from ntsim.hw.vmx.state import VmxMode

_Handler = Callable[[Guest, Exit], ExitInformation | None]
_STEPPING = abi.CPU_BASED_MONITOR_TRAP_FLAG | abi.CPU_BASED_INTERRUPT_WINDOW_EXITING
_MEMORY_FAULTS = (abi.VECTOR_PF, abi.VECTOR_GP, abi.VECTOR_SS)
_QUANTUM_END, _NESTED_FAULT, _ACTIVE = K.QUANTUM_END, K.NESTED_FAULT, abi.ACTIVITY_STATE_ACTIVE
_IRET, _FAR_TRANSFER = K.IRET, K.FAR_TRANSFER
_NMI_UNBLOCKING = 1 << 12
_DR_MOVES = ("mov_to_dr", "mov_from_dr")


def run(guest: Guest, steps: int) -> GuestExit | None:
    """Run the guest for at most `steps` instructions.

    A GuestExit: the VM exit has taken place and the host's state is loaded. None: the quantum is
    used up, or the guest is not active and nothing wakes it. `guest.vmx.retired` says how many
    instructions it was.
    """
    vmx = guest.vmx
    assert vmx.mode is VmxMode.NON_ROOT, "no guest is running"
    guest.begin()
    vmx.retired = 0
    eventful = vmx.injection is not None or vmx.pending_debug or watched(guest)
    information = first_boundary(guest) if eventful else None
    while information is None and vmx.retired < steps:
        if vmx.activity != _ACTIVE:
            if vmx.timer_deadline is None or vmx.activity > abi.ACTIVITY_STATE_SHUTDOWN:
                break
            information = _wait_for_timer(guest, steps - vmx.retired)
            continue
        information = _execute(guest, steps - vmx.retired)
        if information is not None:
            break
        if watched(guest):
            guest.note_interrupt_shadow()
            information = boundary(guest)
    if information is not None and guest.unseen and guest.hidden.untouched():
        guest.note_code()
        return unseen.leave(guest, information)
    guest.store()
    guest.note_interrupt_shadow()
    return None if information is None else perform(vmx, information)


def _wait_for_timer(guest: Guest, steps: int) -> ExitInformation | None:
    """A guest that waits uses up its quantum: the timer runs in HLT and shutdown too."""
    deadline = guest.vmx.timer_deadline
    assert deadline is not None
    guest.retire(instructions_left(guest.unseen_processor, deadline, steps))
    return boundary(guest)


def _execute(guest: Guest, steps: int) -> ExitInformation | None:
    """One run of the engine, and whatever stopped it."""
    vmx = guest.vmx
    if guest.controls.between or vmx.interruptibility & SHADOW:
        steps = _steps_to_boundary(guest, steps)
    if guest.armed:
        causes, steps = breakpoints.at_instruction(guest), 1
        if causes:
            return _breakpoint(guest, causes)
        guest.met = breakpoints.ahead(guest)
    before = vmx.retired
    exit_ = _engine(guest, steps)
    retired = exit_.retired
    vmx.retired += retired
    guest.unseen_processor.budget -= retired
    if exit_.kind is not _QUANTUM_END:
        information = _stopped(guest, exit_)
        if information is not None:
            return information
    elif guest.met:
        information = _trap(guest, 0)
        if information is not None:
            return information
    if guest.primary & abi.CPU_BASED_MONITOR_TRAP_FLAG and vmx.retired != before:
        return ExitInformation(abi.EXIT_REASON_MONITOR_TRAP_FLAG)
    return None


def _breakpoint(guest: Guest, causes: int) -> ExitInformation | None:
    """An instruction breakpoint: a fault, which uses up quantum as a loop of them would not."""
    information = raise_event(guest, Event.exception(abi.VECTOR_DB), causes)
    guest.retire(information is None)
    if information is None and guest.primary & abi.CPU_BASED_MONITOR_TRAP_FLAG:
        return ExitInformation(abi.EXIT_REASON_MONITOR_TRAP_FLAG)
    return information


def _trap(guest: Guest, causes: int) -> ExitInformation | None:
    """#DB behind an instruction, with the data breakpoints that it has met.

    It waits behind an exit by the monitor trap flag, which comes first, and behind a load of SS
    (SDM 3, "Monitor Trap Flag"; "Interrupt 1-Debug Exception (#DB)").
    """
    vmx, met = guest.vmx, guest.met
    guest.met = 0
    guest.note_interrupt_shadow()
    if (
        guest.primary & abi.CPU_BASED_MONITOR_TRAP_FLAG
        or vmx.interruptibility & abi.BLOCKING_BY_MOV_SS
    ):
        vmx.pending_debug |= causes | met | (breakpoints.PENDING_ENABLED if met else 0)
        return None
    return raise_debug(guest, causes | met)


def _steps_to_boundary(guest: Guest, steps: int) -> int:
    """How many instructions may run until something between two of them has to be looked at."""
    vmx = guest.vmx
    if guest.primary & _STEPPING or (vmx.interruptibility & SHADOW and watched(guest)):
        steps = 1  # what waits is let through behind the next instruction
    if vmx.timer_deadline is not None:
        steps = instructions_left(guest.unseen_processor, vmx.timer_deadline, steps)
    return steps


def _engine(guest: Guest, steps: int) -> Exit:
    if guest.careful:
        return run_one(guest)
    engine, registers = guest.engine, guest.registers
    retired = engine.run_to_halt(guest.world, registers, steps)
    if retired >= 0:
        return engine.halted(guest.world, registers, retired)
    found: Exit = registers.exit
    return found


def _stopped(guest: Guest, exit_: Exit) -> ExitInformation | None:
    """Dispatch by what stopped the engine; a fault that comes out of it happens to the guest."""
    if exit_.kind is _IRET:
        return _iret(guest)
    if exit_.kind is _FAR_TRANSFER:
        return _far_transfer(guest, exit_)
    flags = guest.words[RFLAGS]
    stepped = flags & abi.RFLAGS_TF
    try:
        information = HANDLER_OF_KIND[exit_.kind](guest, exit_)
    except ProcessorException as fault:
        information = raise_event(guest, event_of(fault), fault.address)
        guest.retire(information is None)
        return information
    except EptFault as fault:
        information = ept_event(guest, fault)
        guest.retire(information is None)
        return information
    if information is not None:
        if flags & abi.RFLAGS_RF and information.event is None:
            guest.words[RFLAGS] &= ~abi.RFLAGS_RF  # it was an instruction that exited
        return information
    if exit_.kind is not _NESTED_FAULT:
        guest.retire(1)  # also for an event, so that a loop of faults uses up its quantum
    if exit_.kind in _INSTRUCTIONS:
        guest.end_interrupt_shadow()
        if flags & abi.RFLAGS_RF:
            guest.words[RFLAGS] &= ~abi.RFLAGS_RF
        if stepped or guest.met:
            return _trap(guest, DR6_BS if stepped else 0)
    return None


def _far_transfer(guest: Guest, exit_: Exit) -> ExitInformation | None:
    """What may switch tasks: an exit if it does; else it is executed, whatever comes of it."""
    try:
        information = task_switch(guest, exit_)
    except ProcessorException as fault:
        guest.retire(1)
        return raise_event(guest, event_of(fault), fault.address)
    except EptFault as fault:
        return ept_event(guest, fault)
    if information is not None:
        guest.words[RFLAGS] &= ~abi.RFLAGS_RF
        return information
    return _execute_far(guest)


def _execute_far(guest: Guest) -> ExitInformation | None:
    """The instruction before which the engine has stopped, by the engine.

    It steps there with RFLAGS.TF of its own, so the guest's is put aside.
    """
    words = guest.words
    operand = far_operand(guest)
    iret = operand is not None and operand.name == "iret"
    stepped = words[RFLAGS] & abi.RFLAGS_TF
    words[RFLAGS] &= ~abi.RFLAGS_TF
    guest.world.stops_far = False
    again = guest.engine.run(guest.world, guest.registers, 1)
    guest.world.stops_far = True
    executed = again.kind is _QUANTUM_END
    if not (executed and iret):
        words[RFLAGS] |= stepped
    guest.retire(again.retired)
    if not executed:
        return _stopped(guest, again)
    return _trap(guest, DR6_BS if stepped else 0) if stepped or guest.met else None


def _iret(guest: Guest) -> ExitInformation | None:
    """IRET ends NMI blocking, even if it faults; an exit for such a fault says so in bit 12."""
    vmx = guest.vmx
    vmx.interruptibility &= ~abi.BLOCKING_BY_NMI
    guest.store()
    guest.intercepts = guest.controls.intercepts
    guest.load()
    information: ExitInformation | None = None
    kind = _NESTED_FAULT
    while kind is _NESTED_FAULT and information is None:
        again = _engine(guest, 1)
        kind = again.kind
        guest.retire(again.retired)
        information = None if kind is _QUANTUM_END else _stopped(guest, again)
    if information is None or information.vectoring is not None:
        return information
    if information.event is not None and information.event.vector != abi.VECTOR_DF:
        information.event.unblocked_nmis = True
    elif information.reason in (abi.EXIT_REASON_EPT_VIOLATION, abi.EXIT_REASON_PML_FULL):
        information.qualification |= _NMI_UNBLOCKING
    return information


def _exception(guest: Guest, exit_: Exit) -> ExitInformation | None:
    """A fault of the engine's own, unless a VM exit of the instruction comes before it.

    That is so for MOV DR outside ring 0, and for the memory of INS and OUTS.
    """
    if exit_.engine_limit:
        guest.vmx.observer(
            GuestMetEngineLimit(guest.processor.number, exit_.rip, exit_.engine_limit)
        )
    dr_exiting = guest.primary & abi.CPU_BASED_MOV_DR_EXITING
    if dr_exiting and exit_.vector == abi.VECTOR_GP and exit_.mnemonic in _DR_MOVES:
        return control_registers.dr_access(guest, exit_)
    if exit_.vector in _MEMORY_FAULTS and exit_.mnemonic in ("ins", "outs"):
        information = io.string_fault(guest, exit_)
        if information is not None:
            return information
    if exit_.vector == abi.VECTOR_PF:
        return raise_event(guest, Event.exception(exit_.vector, exit_.error_code), exit_.address)
    if exit_.vector == abi.VECTOR_DB:
        return _trap(guest, DR6_BS)
    return raise_event(guest, Event.exception(exit_.vector, exit_.error_code))


def _software_interrupt(guest: Guest, exit_: Exit) -> ExitInformation | None:
    """INT n, INT3, INTO, INT1."""
    kinds = {
        "int": abi.INTR_TYPE_SOFTWARE_INTERRUPT,
        "int1": abi.INTR_TYPE_PRIVILEGED_SOFTWARE_EXCEPTION,
    }
    kind = kinds.get(exit_.mnemonic, abi.INTR_TYPE_SOFTWARE_EXCEPTION)
    return raise_event(guest, Event(exit_.vector, kind, None, exit_.instruction_length))


def _no_memory(guest: Guest, exit_: Exit) -> ExitInformation | None:
    """The guest reached physical memory that the machine does not have; silicon reads ones there.

    The engine cannot go on, so the guest shuts down, and `why` says what happened.
    """
    why = f"physical address {exit_.address:#x} is beyond the machine's memory"
    return ExitInformation(abi.EXIT_REASON_TRIPLE_FAULT, why=why)


def _unexpected(guest: Guest, exit_: Exit) -> ExitInformation | None:
    raise AssertionError(f"the engine stopped for what it was not told to: {exit_!r}")


_HANDLERS: dict[K, _Handler] = {
    K.HLT: plain.hlt,
    K.CPUID: plain.cpuid,
    K.IO: io.io,
    K.RDMSR: msrs.rdmsr,
    K.WRMSR: msrs.wrmsr,
    K.CR_READ: control_registers.cr_read,
    K.CR_WRITE: control_registers.cr_write,
    K.DR_READ: control_registers.dr_access,
    K.DR_WRITE: control_registers.dr_access,
    K.EXCEPTION: _exception,
    K.SOFTWARE_INTERRUPT: _software_interrupt,
    K.RDTSC: msrs.rdtsc,
    K.RDTSCP: msrs.rdtscp,
    K.RDPMC: msrs.rdpmc,
    K.PAUSE: plain.pause,
    K.INVLPG: plain.invlpg,
    K.INVD: plain.invd,
    K.WBINVD: plain.wbinvd,
    K.DESCRIPTOR_TABLE: tables.descriptor_table,
    K.VMX_INSTRUCTION: vmx_instructions.vmx_instruction,
    K.SYSCALL: system_calls.syscall,
    K.SYSRET: system_calls.sysret,
    K.NESTED_FAULT: nested_fault,
    K.NO_MEMORY: _no_memory,
    K.MONITOR: plain.monitor,
    K.MWAIT: plain.mwait,
    K.XSETBV: plain.xsetbv,
    **dict.fromkeys((K.XGETBV, K.RDRAND, K.RDSEED, K.GETSEC, K.RSM), plain.undefined),
    K.INVPCID: invpcid.invpcid,
    K.SYSENTER: system_calls.sysenter,
    K.SYSEXIT: system_calls.sysexit,
}
HANDLER_OF_KIND = [_unexpected, *(_HANDLERS.get(kind, _unexpected) for kind in K)]
"""The same by number: hashing a member of an enumeration costs more than the call."""
_INSTRUCTIONS = _HANDLERS.keys() - {K.EXCEPTION, K.SOFTWARE_INTERRUPT, K.NESTED_FAULT, K.NO_MEMORY}
"""The kinds that are instructions which Python has executed when their handler returns None."""
