"""Compiled code in VMX non-root operation, and handlers in machine code that go back to it.

A driver virtualises the running system when its VMLAUNCH names a guest that is the system itself:
64-bit code of a driver at GUEST_RIP, with the kernel's IDT, address space and KPCR. Nothing moves
then: the code that executed VMLAUNCH goes on at GUEST_RIP with GUEST_RSP, now as guest, and so does
everything else that runs on that processor. Compiled code runs in a world of its own there, through
the EPT, and what stops it is asked of the VM-execution controls by the same routines as for any
guest (`hw/vmx/guest`); what they leave to the guest happens as it does without VT-x.

An exit switches to the processor's VM-exit host stack (`system_guest.py`). A handler comes back by
VMRESUME, or by loading a stack pointer: after VMXOFF to where the guest was, or, as the forum's
`pass_control_to_usermode` does, to a stack that somebody saved. `gone_back` notices that, and the
stack's own host stack goes on with the registers that the handler has left.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ntsim.abi import vmx_constants as abi
from ntsim.host import system_guest
from ntsim.host.abi_x64 import RFLAGS, RIP, RSP, Activation
from ntsim.host.seh import ContextRestored
from ntsim.hw.cpu import EFER_LMA, EFER_SCE, IA32_EFER, IA32_KERNEL_GS_BASE, RFLAGS_IF, Processor
from ntsim.hw.engine import Exit, View, WorldState
from ntsim.hw.engine import ExitKind as K
from ntsim.hw.exceptions import ProcessorException
from ntsim.hw.vmx.exit_information import ExitInformation
from ntsim.hw.vmx.guest import pause_loops, run
from ntsim.hw.vmx.guest.controls import controls_of
from ntsim.hw.vmx.guest.ept import EptFault
from ntsim.hw.vmx.guest.events import add_page_rights, ept_exit, event_of, intercepted
from ntsim.hw.vmx.guest.hidden import HiddenState
from ntsim.hw.vmx.guest.nested_faults import nested_fault, run_one
from ntsim.hw.vmx.guest.state import Guest
from ntsim.hw.vmx.guest.virtualization_exceptions import recorded
from ntsim.hw.vmx.interruption import Event
from ntsim.hw.vmx.virtualised import VirtualisedProcessor
from ntsim.nt.ki.fault import ki_processor_exception

if TYPE_CHECKING:
    from ntsim.host.native import NativeCode
    from ntsim.hw.engine import RegisterFile

_STEPPING = abi.CPU_BASED_MONITOR_TRAP_FLAG | abi.CPU_BASED_INTERRUPT_WINDOW_EXITING
_CONTROL_OF = {
    K.HLT: abi.CPU_BASED_HLT_EXITING,
    K.PAUSE: abi.CPU_BASED_PAUSE_EXITING,
    K.INVLPG: abi.CPU_BASED_INVLPG_EXITING,
}
"""Primary controls without which the instruction does what it does elsewhere."""

_SOFTWARE_EVENTS = {
    "int": abi.INTR_TYPE_SOFTWARE_INTERRUPT,
    "int1": abi.INTR_TYPE_PRIVILEGED_SOFTWARE_EXCEPTION,
}


class CodeInGuest(Guest):
    """A processor's world for the compiled code of a system guest, whoever's registers run in it.

    The registers are those of the activation that runs; the rest of the guest's state is in the
    processor, because the kernel's Python code runs in the same guest.
    """

    on_code: Callable[[View, int, int], None]

    def hold(self, registers: RegisterFile) -> None:
        """The routines of `hw/vmx/guest` look at these."""
        self.registers = registers  # type: ignore[assignment]
        self.words = registers.words

    def begin(self) -> None:
        """Take over controls and state as they are now."""
        unit = self.vmx
        assert unit.current is not None
        controls = controls_of(unit.current)
        if controls is not self.controls:
            self._take_controls(controls)
        if unit.translations_invalid:
            unit.translations_invalid = False
            self._forget_translations()
        if unit.entered:
            unit.entered = False
            if not self.secondary & abi.SECONDARY_ENABLE_VPID:
                self.engine.flush_tlb()
        self.load()

    def load(self) -> None:
        """The world from the processor."""
        p = self.unseen_processor
        rest = (p.cr0, p.cr4, p.efer, p.msrs[IA32_KERNEL_GS_BASE], self.ept)
        if p.segments != self._segments or rest != self._rest:
            self._load_world()
            self._segments, self._rest = bytes(p.segments), rest
        elif self.world.cr3 != p.cr3:
            self.world.cr3 = p.cr3

    def _load_world(self) -> None:
        p, root = self.unseen_processor, self._nested_root()
        state = WorldState.of(p)
        if self._segments is None:
            self.world = self.engine.world(state, root)
            self.hidden = HiddenState(self.world)
            self.world.on_code = self.on_code
        else:
            self.world.load(state, root)
        self.watch_fetches()
        self.hidden.remember()

    def store(self) -> None:
        """RSP, RIP and RFLAGS into the processor, and what the code has loaded unseen."""
        p, words = self.unseen_processor, self.words
        p.rsp, p.rip, p.rflags = words[RSP], words[RIP], words[RFLAGS]
        self.store_hidden()

    def store_hidden(self) -> None:
        """What the code has loaded unseen, into the processor."""
        native = self.world.native
        native.processor(self.world.slot)  # bring the saved processor up to date
        if self.hidden.changed():
            self._store_world()

    def _store_world(self) -> None:
        super()._store_world()
        p = self.unseen_processor
        self._rest = (p.cr0, p.cr4, p.efer, p.msrs[IA32_KERNEL_GS_BASE], self.ept)


class GuestRuns:
    """Runs activations on processors in non-root operation; part of `NativeCode`."""

    def __init__(self, code: NativeCode) -> None:
        self.code, self.nt = code, code.nt
        self._guests: list[CodeInGuest | None] = [None] * len(code.nt.processors)
        self._gone_to: Activation | None = None

    # Becoming a guest

    def takes(self, processor: Processor) -> bool:
        """Whether the guest that has been entered is the running system, in a driver's code."""
        nt = self.nt
        return (
            self.code.owns(processor.rip)
            and bool(processor.msrs[IA32_EFER] & EFER_LMA and processor.cs.access_rights & 1 << 13)
            and processor.cpl == 0
            and processor.idtr.base == processor.vmx.current.get(abi.HOST_IDTR_BASE)
            and system_guest.can_run(nt, processor)
        )

    def begin(self, activation: Activation, processor: Processor) -> None:
        """VM entry succeeded: the code goes on as guest."""
        words = activation.words
        words[RIP], words[RSP], words[RFLAGS] = processor.rip, processor.rsp, processor.rflags
        activation.thread.storage = words[RSP]
        system_guest.begin(self.nt, processor)

    @staticmethod
    def runs(processor: Processor) -> bool:
        """Whether the guest whose exit is being handled is the running system."""
        system = processor.vmx.system
        return system is not None and system.waiting

    # Running

    def run(self, activation: Activation, processor: Processor, steps: int) -> Exit | None:
        """One run of the engine; None: what happened in it has been dealt with."""
        guest = self._guest(processor)
        guest.hold(activation.registers)
        guest.begin()
        stepping = guest.primary & _STEPPING
        if guest.primary & abi.CPU_BASED_NMI_WINDOW_EXITING:
            self._leave(guest, activation, ExitInformation(abi.EXIT_REASON_NMI_WINDOW))
            return None
        if stepping & abi.CPU_BASED_INTERRUPT_WINDOW_EXITING and processor.rflags & RFLAGS_IF:
            self._leave(guest, activation, ExitInformation(abi.EXIT_REASON_INTERRUPT_WINDOW))
            return None
        return self._engine_run(guest, activation, 1 if stepping else steps)

    def stepped(self, activation: Activation, processor: Processor) -> bool:
        """Whether the run ended after one instruction because a control says so: then the quantum
        is not over."""
        guest = self._guest(processor)
        if not guest.primary & _STEPPING:
            return False
        if guest.primary & abi.CPU_BASED_MONITOR_TRAP_FLAG:
            guest.hold(activation.registers)
            self._leave(guest, activation, ExitInformation(abi.EXIT_REASON_MONITOR_TRAP_FLAG))
        self.nt.il.step()
        return True

    def _guest(self, processor: Processor) -> CodeInGuest:
        found = self._guests[processor.number]
        if found is None:
            found = CodeInGuest(processor.vmx, self.code.engine)
            found.on_code = self.code.code_seen
            self._guests[processor.number] = found
        return found

    def _engine_run(self, guest: CodeInGuest, activation: Activation, steps: int) -> Exit:
        """One instruction where it lies in a page for execution only, and then the rest."""
        while guest.careful:
            exit_ = run_one(guest)
            if exit_.kind is not K.QUANTUM_END or steps <= 1:
                return exit_
            steps -= 1
        return guest.engine.run(guest.world, activation.registers, steps)

    # What stopped it

    def stopped(self, activation: Activation, exit_: Exit) -> bool:
        """Whether it is dealt with; else it does what it does without VT-x."""
        processor = self.nt.il.current
        guest = self._guest(processor)
        guest.hold(activation.registers)
        try:
            handled, information = self._cause(guest, exit_)
        except EptFault as fault:
            handled, information = self._refused(guest, exit_, fault)
        except ProcessorException as fault:
            handled, information = True, intercepted(guest, event_of(fault), fault.address)
            if information is None:
                ki_processor_exception(self.nt, fault)
        if information is not None:
            self._leave(guest, activation, information)
            if activation.words[RIP] == activation.user:  # a hypervisor has emulated SYSRET
                self.code.system_calls.back(activation)
        return handled

    @staticmethod
    def _refused(
        guest: CodeInGuest, exit_: Exit, fault: EptFault
    ) -> tuple[bool, ExitInformation | None]:
        """What EPT does not allow: an exit, or a virtualization exception, through its gate."""
        add_page_rights(guest.memory, guest.vmx, fault)
        if not recorded(guest.vmx, guest.secondary, guest.processor.cr0, fault):
            return True, ept_exit(guest, fault)
        exit_.kind, exit_.vector, exit_.error_code = K.EXCEPTION, abi.VECTOR_VE, None
        information = intercepted(guest, Event.exception(abi.VECTOR_VE))
        return information is not None, information

    def _cause(self, guest: CodeInGuest, exit_: Exit) -> tuple[bool, ExitInformation | None]:
        """(is it dealt with, the VM exit that it is)."""
        kind = exit_.kind
        if kind in (K.EXCEPTION, K.SOFTWARE_INTERRUPT):
            information = intercepted(guest, self._event(exit_), self._address(exit_))
            return information is not None, information
        if kind is K.NESTED_FAULT:
            return True, nested_fault(guest, exit_)
        if not self._may_exit(guest, exit_):
            return False, None
        return True, run.HANDLER_OF_KIND[kind](guest, exit_)

    @staticmethod
    def _event(exit_: Exit) -> Event:
        if exit_.kind is K.EXCEPTION:
            return Event.exception(exit_.vector, exit_.error_code)
        kind = _SOFTWARE_EVENTS.get(exit_.mnemonic, abi.INTR_TYPE_SOFTWARE_EXCEPTION)
        return Event(exit_.vector, kind, None, exit_.instruction_length)

    @staticmethod
    def _address(exit_: Exit) -> int:
        return exit_.address if exit_.kind is K.EXCEPTION and exit_.vector == abi.VECTOR_PF else 0

    @staticmethod
    def _may_exit(guest: CodeInGuest, exit_: Exit) -> bool:
        """False: the kernel does what the instruction does, because more follows from it."""
        kind = exit_.kind
        if kind is K.SYSRET:
            return not guest.processor.efer & EFER_SCE
        if kind in _CONTROL_OF and guest.primary & _CONTROL_OF[kind]:
            return True
        if kind in _CONTROL_OF:
            return kind is K.PAUSE and pause_loops.ends(guest.vmx, guest.controls, guest.cpl)
        if kind is K.DESCRIPTOR_TABLE:
            return bool(guest.secondary & abi.SECONDARY_DESCRIPTOR_TABLE_EXITING)
        if kind is K.CR_WRITE and exit_.mnemonic not in ("clts", "lmsw"):
            if exit_.number == 8:
                return bool(guest.primary & abi.CPU_BASED_CR8_LOAD_EXITING)
            if exit_.number == 3:
                processor = guest.unseen_processor
                assert isinstance(processor, VirtualisedProcessor)
                return processor.cr3_exits(guest.words[exit_.gpr])
        return kind is not K.NO_MEMORY

    def held(self, activation: Activation) -> CodeInGuest:
        """The current processor's guest with an activation's registers."""
        guest = self._guest(self.nt.il.current)
        guest.hold(activation.registers)
        guest.begin()
        return guest

    def leave(
        self, guest: CodeInGuest, activation: Activation, information: ExitInformation
    ) -> None:
        """A VM exit of an activation, until its guest goes on."""
        self._leave(guest, activation, information)

    def store_world(self, processor: Processor) -> None:
        """What compiled code has loaded itself, into the processor."""
        guest = self._guests[processor.number]
        if guest is not None:
            guest.store_hidden()

    def _leave(
        self, guest: CodeInGuest, activation: Activation, information: ExitInformation
    ) -> None:
        guest.store()
        system_guest.leave(self.nt, self.nt.il.current, information, activation)
        self.arrived(activation)

    # Handlers that go back without VMRESUME

    def gone_back(self, activation: Activation) -> bool:
        """Whether a handler's code has loaded the stack of the code that it was called for.

        Then that code's activation goes on where the handler's is, and the handler's is abandoned.
        """
        words, nt = activation.words, self.nt
        system = activation.guest.system
        thread, rsp = nt.thread, words[RSP]
        if system is not None and system.waiting and system.activation is None:
            self._gone_to_python(activation, system)
        if not thread.stack_limit <= rsp <= thread.stack_base:
            return False
        if thread.stack_limit <= activation.top <= thread.stack_base:
            return False  # the handler's own stack is a part of the thread's
        owner = self.code.innermost(thread, rsp)
        if owner is None or owner is activation:
            return False
        owner.registers.copy_from(activation.registers)
        target = owner.greenlet
        if system is not None and system.waiting:
            system.host, system.back, target = None, owner, system.guest
        self._gone_to = owner
        self.code.forget_world(nt.il.current)
        nt.il.current.greenlet = target
        target.switch()
        nt.il.check_closed()
        raise AssertionError("an abandoned stack was resumed")

    def _gone_to_python(self, activation: Activation, system: Any) -> None:
        """The guest is Python code: its instruction pointer says that it has been reached."""
        words = activation.words
        if words[RSP] == system.rsp and 0 <= words[RIP] - system.rip <= 15:
            activation.guest.gpr[:] = words[0:16]
            self.code.forget_world(self.nt.il.current)
            system_guest.continue_at(self.nt, self.nt.il.current, words[RIP], words[RSP])

    def arrived(self, activation: Activation) -> None:
        """On the host stack that a handler has gone back to: on to the activation it meant."""
        if self._gone_to is not None:
            if self._gone_to is not activation:
                raise ContextRestored
            self._gone_to = None

    def is_for(self, activation: Activation) -> bool:
        """A ContextRestored on its way: whether it has reached the activation that it is for."""
        if self._gone_to is None:
            return True
        if self._gone_to is activation:
            self._gone_to = None
            return True
        return False

    def steps_for(self, activation: Activation, steps: int) -> int:
        """A handler that has executed VMXOFF may jump into Python code at any instruction."""
        unit = activation.guest
        system = unit.system
        python = system is not None and system.waiting and system.activation is None
        return 1 if python and not unit.in_operation else steps
