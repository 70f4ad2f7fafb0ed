"""Stacks that never come back: save_stack and restore_stack, VM entry, VM-exit host stacks.

A Python function cannot return twice, so `save_stack(slot, f)` runs `f` on a new host stack and
waits under the old one; `restore_stack(slot, value)` goes back there and abandons every frame
between. The slot holds the saved stack pointer, as the driver's assembly would store it. VMLAUNCH
and VMRESUME abandon their frames as well when they succeed: the processor goes on on its VM-exit
host stack, where an exit stub calls the routine in HOST_RIP with the guest's registers and resumes
the guest when that returns. Abandoned stacks are kept, suspended, until the machine closes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn

from greenlet import getcurrent, greenlet

from ntsim.abi import vmx_constants as vmx
from ntsim.host.registers import GuestRegisters
from ntsim.host.repetition import Repetition
from ntsim.hw.cpu import RFLAGS_IF, Processor
from ntsim.hw.interleave import MachineGreenlet
from ntsim.hw.vmx.exits import GuestExit
from ntsim.hw.vmx.results import ENTERED, Entered, WouldExit, result_of_flags
from ntsim.nt.events import VM_ENTERED, StackRestored, StackSaved, VmExited
from ntsim.nt.kernel import Kernel
from ntsim.nt.ki import frames
from ntsim.nt.ki.fault import ki_need_stack
from ntsim.nt.ki.stack import FAST_FAIL_INCORRECT_STACK, ki_check_stack
from ntsim.nt.ki.syscall import ki_unhandled
from ntsim.nt.rtl.exception import StructuredException

SAVED_FRAME = 0x80
"""Bytes that pushing the sixteen general registers takes."""

STATUS_BREAKPOINT = 0x8000_0003


class SavedStack:
    """A stack that can be returned to once."""

    __slots__ = ("returned", "stack", "storage", "thread")

    def __init__(self, stack: greenlet, storage: int, thread: Any) -> None:
        self.stack, self.storage, self.thread = stack, storage, thread
        self.returned = False


class Restored:
    """What arrives under a saved stack when it is restored."""

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value


def save_stack(nt: Kernel, slot: int, function: Callable[[], Any]) -> Any:
    """Run `function`; its value, or the one a later restore_stack gives."""
    here = getcurrent()
    thread = nt.thread
    saved_storage = thread.storage
    thread.storage -= SAVED_FRAME
    pointer = thread.storage
    saved = nt.saved_stacks[pointer] = SavedStack(here, saved_storage, thread)
    nt.write_pointer(slot, pointer)
    nt.emit_at(StackSaved, slot)
    inner = new_stack(nt, function, here, "below a saved stack")
    nt.il.current.greenlet = inner
    outcome = inner.switch()
    nt.il.current.greenlet = here
    saved.returned = True
    thread.storage = saved_storage
    return outcome.value if isinstance(outcome, Restored) else outcome


def restore_stack(nt: Kernel, slot: int, value: Any) -> None:
    """Go back to where `slot` was saved. Does not return.

    A slot whose frame has returned holds a pointer into freed stack: the stack is corrupt, 0x139
    with FAST_FAIL_INCORRECT_STACK.
    """
    pointer = nt.read_pointer(slot)
    saved = nt.saved_stacks.get(pointer)
    if saved is None or saved.returned or saved.stack.dead:
        reason = "its frame has returned" if saved is not None else "nothing was saved there"
        nt.fast_fail(FAST_FAIL_INCORRECT_STACK, f"restored the stack of slot {slot:#x}: {reason}")
        return
    left = frames.capture(nt)
    names = ", ".join(frame.symbol for frame in left[:4] if not frame.user)
    nt.emit_at(StackRestored, slot, len(left), names)
    saved.stack.switch(Restored(value))
    never_again(nt)


def new_stack(nt: Kernel, function: Callable[[], Any], parent: Any, label: str) -> MachineGreenlet:
    made = MachineGreenlet(function, parent)
    made.machine = nt
    nt.greenlets[made] = label
    return made


def never_again(nt: Kernel) -> NoReturn:
    """An abandoned stack is resumed only to end with the machine."""
    nt.il.check_closed()
    raise AssertionError("an abandoned stack was resumed")


def enter_guest(nt: Kernel, processor: Processor, first: Entered | GuestExit) -> None:
    """VM entry succeeded: leave this stack for good and run on the VM-exit host stack."""
    begin_guest(nt, processor, first)
    never_again(nt)


def begin_guest(nt: Kernel, processor: Processor, first: Entered | GuestExit) -> None:
    """Run the guest on the VM-exit host stack; comes back if somebody switches to this one."""
    if isinstance(first, Entered):
        record_entry(nt, processor, frames.source_line(nt))
    stack = new_stack(
        nt, lambda: run_guest(nt, processor, first), nt.il.hub, f"VM-exit stack of {processor}"
    )
    processor.greenlet = stack
    nt.il.enter(stack)
    nt.il.check_closed()


def run_guest(nt: Kernel, processor: Processor, first: Entered | GuestExit) -> None:
    """The processor in a guest: exits go to the handler, and back in when it returns."""
    unit = processor.vmx
    registers = GuestRegisters.from_buffer(unit.gpr)
    outcome: Any = first
    again = Repetition()
    while True:
        if type(outcome) is GuestExit:
            call_handler(nt, processor, outcome, registers)
            outcome = resume_unseen(nt, nt.il.current)
            continue
        budget = processor.budget
        outcome = unit.run_guest(budget if budget > 0 else 1)
        if not unit.retired:
            processor.budget -= 1
            if outcome is not None and _repeats(nt, processor, outcome, again):
                nt.il.spin_in_guest()
        if outcome is None:
            waits = unit.activity != vmx.ACTIVITY_STATE_ACTIVE
            if waits and unit.timer_deadline is None:
                nt.il.wait_in_guest()
            else:
                nt.il.give_way_in_guest()


def _repeats(nt: Kernel, processor: Processor, happened: GuestExit, again: Repetition) -> bool:
    """The guest has executed nothing since it was entered: whether time is to pass faster."""
    values = processor.vmx.current.values
    what = happened.rip, happened.qualification, values[vmx.GUEST_PHYSICAL_ADDRESS]
    passes = again.note(nt, happened.reason, *what, bytes(processor.vmx.gpr))
    exits = values[vmx.PIN_BASED_VM_EXEC_CONTROL] & vmx.PIN_BASED_EXTERNAL_INTERRUPT_EXITING
    if exits or values[vmx.GUEST_RFLAGS] & RFLAGS_IF:
        again.end_if_endless(nt, processor, happened.rip)
        return False
    return passes


def call_handler(
    nt: Kernel, processor: Processor, happened: GuestExit, registers: GuestRegisters
) -> None:
    """The exit stub up to the return of the routine at HOST_RIP."""
    reason = happened.reason
    if processor.number not in nt.off_since:
        nt.disable_interrupts(processor, f"the VM exit ({vmx.exit_reason_name(reason)})")
    nt.record(VmExited.number, "", reason, happened.qualification, happened.rip)
    if happened.aborted:
        nt.shut_down(processor, f"VMX abort {happened.aborted}")
    processor.context.storage = rsp = processor.rsp
    if rsp not in nt.host_stacks:
        ki_need_stack(nt, rsp, processor.rip)  # the stub pushes the general registers first
        nt.host_stacks.add(rsp)
    try:
        nt.host.call(processor.rip, (registers,))
    except StructuredException as error:
        ki_unhandled(nt, error, interrupt=True)


def resume_unseen(nt: Kernel, processor: Processor) -> Entered | GuestExit:
    """VMRESUME of the exit stub where nothing but the guest's code runs next."""
    processor.mov_ss_blocking = False
    unit = processor.vmx
    if unit.resumed is not None or not unit.resume_unseen():
        return resume(nt, processor, unit.vmresume)
    nt.record(VM_ENTERED, "", "VMRESUME", unit.current.values[vmx.GUEST_RIP])
    return ENTERED


def resume(nt: Kernel, processor: Processor, operation: Callable[[], Any]) -> Entered | GuestExit:
    """VMRESUME of the exit stub, behind which the guest runs at once.

    A handler in machine code has executed its own, which is why it has come back.
    """
    processor.mov_ss_blocking = False
    unit = processor.vmx
    outcome, unit.resumed = unit.resumed, None
    if outcome is None:
        outcome = nt.ki.processor_operation(operation)
    if isinstance(outcome, Entered):
        record_entry(nt, processor, "")
        return outcome
    if isinstance(outcome, GuestExit):
        return outcome
    failed = StructuredException(
        STATUS_BREAKPOINT, (), processor.rip, f"VMRESUME in the exit stub failed: {outcome.reason}"
    )
    failed.stack = frames.capture(nt)
    ki_check_stack(nt, f"STATUS_BREAKPOINT ({failed.reason})")
    ki_unhandled(nt, failed, interrupt=True)


def record_entry(nt: Kernel, processor: Processor, where: str) -> None:
    """A VM entry that has just been made; the unit leaves that to us."""
    unit = processor.vmx
    instruction = "VMLAUNCH" if unit.launching else "VMRESUME"
    nt.record(VM_ENTERED, where, instruction, unit.current.values[vmx.GUEST_RIP])


def enter_from_intrinsic(nt: Kernel, instruction: str) -> Any:
    """VMLAUNCH or VMRESUME of driver code: its status if it fails, else it does not return."""
    from ntsim.host import system_guest

    processor = nt.il.current
    unit = processor.vmx
    operation = unit.vmlaunch if instruction == "VMLAUNCH" else unit.vmresume
    while isinstance(outcome := nt.ki.processor_operation(operation), WouldExit):
        if nt.ki.processor_operation(system_guest.would_exit, processor, outcome):
            return result_of_flags(processor.rflags)
    if isinstance(outcome, Entered) and system_guest.takes(nt, processor):
        record_entry(nt, processor, frames.source_line(nt))
        system_guest.enter(nt, processor)
    if isinstance(outcome, (Entered, GuestExit)):
        nt.prepare_engine(processor)
        enter_guest(nt, processor, outcome)
    return outcome
