"""What VT-x reports to whoever records a run: facts in the past tense, one dataclass each.

A `VmxObserver` is any callable that takes one. The last four are not errors on silicon, where they
show up as corruption later; a verifier decides what to make of them.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from ntsim.abi.vmx_constants import field_name


@dataclass(frozen=True, slots=True)
class VmxOperationEntered:
    """VMXON succeeded."""

    processor: int
    vmxon_pointer: int

    def __str__(self) -> str:
        return f"P{self.processor} entered VMX operation, VMXON region {self.vmxon_pointer:#x}"


@dataclass(frozen=True, slots=True)
class VmxOperationLeft:
    """VMXOFF succeeded."""

    processor: int

    def __str__(self) -> str:
        return f"P{self.processor} left VMX operation"


@dataclass(slots=True)
class VmxInstructionFailed:
    """VMfailValid, or VMfailInvalid (`error` 0): the instruction ended with ZF or CF set."""

    processor: int
    instruction: str
    error: int
    reason: str

    def __str__(self) -> str:
        how = f"VMfailValid {self.error}" if self.error else "VMfailInvalid"
        return f"P{self.processor} {self.instruction}: {how}, {self.reason}"


@dataclass(frozen=True, slots=True)
class VmcsCleared:
    """VMCLEAR succeeded: the data is in the region, the launch state is clear."""

    processor: int
    vmcs: int

    def __str__(self) -> str:
        return f"P{self.processor} cleared VMCS {self.vmcs:#x}"


@dataclass(frozen=True, slots=True)
class VmcsLoaded:
    """VMPTRLD succeeded: the VMCS is active and current."""

    processor: int
    vmcs: int

    def __str__(self) -> str:
        return f"P{self.processor} made VMCS {self.vmcs:#x} current"


@dataclass(slots=True)
class VmEntered:
    """A VM entry succeeded; `instruction` is VMLAUNCH or VMRESUME."""

    processor: int
    vmcs: int
    instruction: str
    rip: int

    def __str__(self) -> str:
        return f"P{self.processor} {self.instruction}: guest at {self.rip:#x}"


@dataclass(slots=True)
class VmExited:
    """A VM exit took place, or a VM entry failed after the processor had left the host's state.

    `reason` is the exit reason field: bit 31 marks a failed VM entry. `why` is for people.
    """

    processor: int
    vmcs: int
    reason: int
    qualification: int
    rip: int
    why: str = ""

    def __str__(self) -> str:
        why = f", {self.why}" if self.why else ""
        return (
            f"P{self.processor} VM exit {self.reason:#x} at {self.rip:#x}, "
            f"qualification {self.qualification:#x}{why}"
        )


@dataclass(frozen=True, slots=True)
class VmxAborted:
    """A VMX abort: a VM exit could not be completed and the processor shut down.

    `indicator` is what the VMCS region's second word now holds.
    """

    processor: int
    vmcs: int
    indicator: int
    reason: str

    def __str__(self) -> str:
        return f"P{self.processor} VMX abort {self.indicator}: {self.reason}"


@dataclass(frozen=True, slots=True)
class VmcsActiveElsewhere:
    """An instruction used a VMCS that is active on another processor, which still has its own copy.

    SDM 3, "Software Use of Virtual-Machine Control Structures": a VMCS must not be active on more
    than one logical processor; VMCLEAR it on the first before using it on the second.
    """

    processor: int
    vmcs: int
    active_on: int
    instruction: str

    def __str__(self) -> str:
        return (
            f"P{self.processor} {self.instruction} of VMCS {self.vmcs:#x}, "
            f"still active on processor {self.active_on}"
        )


@dataclass(frozen=True, slots=True)
class VmcsLeftActive:
    """VMXOFF with an active VMCS: software should have executed VMCLEAR for it first."""

    processor: int
    vmcs: int

    def __str__(self) -> str:
        return f"P{self.processor} VMXOFF: VMCS {self.vmcs:#x} was still active"


@dataclass(frozen=True, slots=True)
class VmcsRegionWritten:
    """Memory of an active VMCS's region was written by software; the processor ignores it."""

    processor: int
    vmcs: int
    offset: int

    def __str__(self) -> str:
        return (
            f"P{self.processor} VMCS {self.vmcs:#x} was active when byte {self.offset:#x} changed"
        )


@dataclass(frozen=True, slots=True)
class VmcsNeverCleared:
    """VMPTRLD of a region for which VMCLEAR was never executed: its launch state is undefined."""

    processor: int
    vmcs: int

    def __str__(self) -> str:
        return f"P{self.processor} VMPTRLD of VMCS {self.vmcs:#x} without a VMCLEAR before it"


@dataclass(frozen=True, slots=True)
class VmEntryUsedUnwritten:
    """A VM entry took fields that nobody wrote since VMCLEAR: they hold what the region held."""

    processor: int
    vmcs: int
    fields: tuple[int, ...]

    def __str__(self) -> str:
        names = ", ".join(field_name(encoding) for encoding in self.fields)
        return f"P{self.processor} VM entry with fields never written: {names}"


@dataclass(frozen=True, slots=True)
class GuestMetEngineLimit:
    """A guest executed an instruction that silicon has and ntsim does not; it gets #UD.

    CPUID of the modelled processor says that it is not supported.
    """

    processor: int
    rip: int
    instruction: str

    def __str__(self) -> str:
        return f"P{self.processor} guest at {self.rip:#x}: ntsim lacks {self.instruction}"


VmxEvent: TypeAlias = (
    VmxOperationEntered
    | VmxOperationLeft
    | VmxInstructionFailed
    | VmcsCleared
    | VmcsLoaded
    | VmEntered
    | VmExited
    | VmxAborted
    | VmcsActiveElsewhere
    | VmcsLeftActive
    | VmcsRegionWritten
    | VmcsNeverCleared
    | VmEntryUsedUnwritten
    | GuestMetEngineLimit
)
VmxObserver: TypeAlias = Callable[[VmxEvent], None]


def ignore(event: VmxEvent) -> None:
    """The observer of a processor that nobody watches."""
