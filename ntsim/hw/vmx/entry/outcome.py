"""How VM-entry checks end, and what a failed one says."""

from dataclasses import dataclass
from enum import Enum

from ntsim.abi.vmx_constants import field_name


class Stage(Enum):
    """Which part of the checks a rule belongs to, in the order in which they are made."""

    INSTRUCTION = "the instruction"
    CONTROLS = "control fields"
    HOST = "host-state area"
    GUEST = "guest-state area"
    MSRS = "MSR-load list"


@dataclass(frozen=True, slots=True)
class EntryMode:
    """What the checks ask of the processor itself: whether IA32_EFER.LMA is 1 now."""

    long_mode: bool = True


@dataclass(frozen=True, slots=True)
class Violation:
    """One broken rule: which field, what it holds, the rule, what would be accepted, and where.

    `field` is an encoding. `qualification` is what a VM-entry failure for this rule reports.
    """

    field: int
    value: int
    rule: str
    accepted: str
    section: str
    qualification: int = 0

    def __str__(self) -> str:
        return (
            f"{field_name(self.field)} is {self.value:#x}: {self.rule}; accepted: {self.accepted} "
            f'(SDM 3, "{self.section}")'
        )


@dataclass(frozen=True, slots=True)
class VmFail:
    """VMfailValid: error 7 for a control field, 8 for the host-state area."""

    error: int
    violation: Violation


@dataclass(frozen=True, slots=True)
class EntryFailure:
    """A VM-entry failure: a VM exit with bit 31 of the exit reason set."""

    reason: int
    qualification: int
    violation: Violation
