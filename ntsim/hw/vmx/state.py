"""Where one logical processor stands in VT-x: its mode, pointers and on-chip VMCSs.

How instructions report success and failure is here too: the flags, and the error number in the
current VMCS (SDM 3, "VMX Instruction Reference", "Conventions").
"""

from collections.abc import Callable
from ctypes import c_uint64
from enum import Enum

from ntsim.abi import vmx_constants as abi
from ntsim.hw.vmx import preemption_timer
from ntsim.hw.vmx.capabilities import VmxCapabilities
from ntsim.hw.vmx.events import VmxInstructionFailed, VmxObserver, ignore
from ntsim.hw.vmx.interruption import Event
from ntsim.hw.vmx.protocols import VmxProcessor
from ntsim.hw.vmx.results import (
    ARITHMETIC_FLAGS,
    SUCCESS,
    VmFailInvalid,
    VmFailValid,
    VmSucceed,
    flags_after,
)
from ntsim.hw.vmx.vmcs import NO_POINTER, Vmcs, VmcsDirectory


class VmxMode(Enum):
    """Off, root operation (the host's) or non-root operation (a guest's)."""

    OFF = "off"
    ROOT = "root"
    NON_ROOT = "non-root"


_REGISTER_WORDS = 20
"""What `ntsim.hw.engine.ResidentRegisters` take, said here because the engine is loaded later."""

_OFF, _NON_ROOT = VmxMode.OFF, VmxMode.NON_ROOT


class VmxState:
    """What VMXON, VMPTRLD and VM entries leave in a processor.

    `gpr` holds the guest's RAX, RCX, RDX, RBX, RSP, RBP, RSI, RDI, R8 to R15 (element 4 is unused:
    RSP is the processor's); it is the beginning of `registers`, the engine's.
    `active` maps the physical address of each VMCS active here to its on-chip copy; `current`
    is the one that VMREAD, VMWRITE and VM entries use. While a guest runs,
    `activity`, `interruptibility` and `pending_debug` are its non-register state in the format of
    the VMCS, `injection` is an event that waits for its first instruction boundary, and
    `timer_deadline` the TSC at which the VMX-preemption timer has expired, None if it is not on;
    `pauses` is when the guest executed the first PAUSE of a loop, and its last one (TSC);
    `retired` is how many instructions the last run took. `new_frame` gives the physical address of
    a page frame for the engine's nested tables: guests with EPT need it. `report_passages` says
    whether successful VM entries and VM exits are reported: who records them anyway turns it off.
    """

    def __init__(
        self, processor: VmxProcessor, directory: VmcsDirectory, observer: VmxObserver = ignore
    ) -> None:
        self.processor = processor
        self.directory = directory
        self.observer = observer
        self.mode = VmxMode.OFF
        self.vmxon_pointer = NO_POINTER
        self.active: dict[int, Vmcs] = {}
        self.current: Vmcs | None = None
        self.session = 0
        self.registers = bytearray(8 * _REGISTER_WORDS)
        self.gpr = (c_uint64 * 16).from_buffer(self.registers)
        self.translations_invalid = False
        self.activity = self.interruptibility = self.pending_debug = 0
        self.injection: Event | None = None
        self.timer_deadline: int | None = None
        self.pauses: tuple[int, int] | None = None
        self.report_passages = True
        self.retired = 0
        self.entered = self.launching = False
        self.new_frame: Callable[[], int] | None = None

    def enter_guest(self, vmcs: Vmcs, injection: Event | None, *, launching: bool) -> None:
        """What the guest's first instruction boundary finds."""
        values = vmcs.values
        self.activity = values[abi.GUEST_ACTIVITY_STATE]
        self.interruptibility = values[abi.GUEST_INTERRUPTIBILITY_STATE]
        self.pending_debug = values[abi.GUEST_PENDING_DBG_EXCEPTIONS]
        self.injection = injection
        self.launching = launching
        self.timer_deadline = preemption_timer.deadline(
            self.processor, vmcs, self.capabilities.misc
        )
        self.mode = _NON_ROOT
        self.entered = True

    def leave_guest(self) -> None:
        """Nothing is pending in root operation."""
        self.activity = self.interruptibility = self.pending_debug = 0
        self.injection = self.timer_deadline = self.pauses = None

    @property
    def capabilities(self) -> VmxCapabilities:
        """What the processor's VT-x can do."""
        return self.directory.capabilities

    @property
    def in_operation(self) -> bool:
        """Between VMXON and VMXOFF."""
        return self.mode is not _OFF

    @property
    def mode_name(self) -> str:
        """ "off", "root" or "non-root"."""
        return self.mode.value

    @property
    def in_non_root(self) -> bool:
        """A guest is running."""
        return self.mode is _NON_ROOT

    @property
    def interrupts_wake(self) -> bool:
        """Whether external interrupts get a guest out of HLT: with external-interrupt exiting they
        do whatever RFLAGS.IF is; out of shutdown and wait-for-SIPI they never do (SDM 3, "Other
        Causes of VM Exits" and "Activity State")."""
        if self.activity > abi.ACTIVITY_STATE_HLT:
            return False
        assert self.current is not None
        pin = self.current.values[abi.PIN_BASED_VM_EXEC_CONTROL]
        exits = pin & abi.PIN_BASED_EXTERNAL_INTERRUPT_EXITING
        return bool(exits or self.processor.rflags & abi.RFLAGS_IF)

    @property
    def current_pointer(self) -> int:
        """The current-VMCS pointer; all ones if there is none."""
        return self.current.address if self.current else NO_POINTER

    def succeed(self, value: int = 0) -> VmSucceed:
        """VMsucceed: the six arithmetic flags are cleared."""
        self.processor.rflags &= ~ARITHMETIC_FLAGS
        return VmSucceed(value) if value else SUCCESS

    def fail_invalid(self, instruction: str, reason: str) -> VmFailInvalid:
        """VMfailInvalid."""
        result = VmFailInvalid(reason)
        self.processor.rflags = flags_after(self.processor.rflags, result)
        self.observer(VmxInstructionFailed(self.processor.number, instruction, 0, reason))
        return result

    def fail(self, instruction: str, error: int, reason: str) -> VmFailInvalid | VmFailValid:
        """VMfail: VMfailValid if there is a current VMCS to write the error number to."""
        if self.current is None:
            return self.fail_invalid(instruction, reason)
        self.current.put(abi.VM_INSTRUCTION_ERROR, error)
        result = VmFailValid(error, reason)
        self.processor.rflags = flags_after(self.processor.rflags, result)
        self.observer(VmxInstructionFailed(self.processor.number, instruction, error, reason))
        return result
