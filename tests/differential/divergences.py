"""Where Bochs decides otherwise than Intel's manual, and what it does there.

Each is a rule with the section of SDM volume 3 that has it. `vmx_divergences.json` beside the
entry vectors lists the same for those vectors one by one.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from ntsim.abi import vmx_constants as abi
from ntsim.hw.vmx.entry import Violation


@dataclass(frozen=True)
class Unchecked:
    """A check of the manual that Bochs does not make: `applies` to the violation of it."""

    section: str
    what: str
    applies: Callable[[Violation], bool]


_LOW_32 = 0xFFFF_FFFF
_PENDING = 0xF | 1 << 12 | 1 << 14 | 1 << 16

UNCHECKED = (
    Unchecked(
        "Checks on Guest Control Registers, Debug Registers, and MSRs",
        "reserved bits of IA32_DEBUGCTL",
        lambda v: v.field == abi.GUEST_IA32_DEBUGCTL,
    ),
    Unchecked(
        "Checks on Guest Control Registers, Debug Registers, and MSRs",
        "IA32_PERF_GLOBAL_CTRL",
        lambda v: v.field in (abi.GUEST_PERF_GLOBAL_CTRL, abi.HOST_PERF_GLOBAL_CTRL),
    ),
    Unchecked(
        "Checks on Guest RIP, RFLAGS, and SSP",
        "RIP beyond the linear-address width in 64-bit code",
        lambda v: v.field == abi.GUEST_RIP and "too wide" in v.rule,
    ),
    Unchecked(
        "Checks on Guest Non-Register State",
        "bits 63:32 of the pending debug exceptions",
        lambda v: (
            v.field == abi.GUEST_PENDING_DBG_EXCEPTIONS
            and "reserved" in v.rule
            and not v.value & _LOW_32 & ~_PENDING
        ),
    ),
)


def is_checked(violation: Violation) -> bool:
    """Whether Bochs has the rule that is broken."""
    return not any(one.applies(violation) for one in UNCHECKED)


def msr_area_overflows(fields: Mapping[int, int]) -> bool:
    """Whether a count of MSRs times 16 needs more than 32 bits, in which Bochs computes it.

    The manual asks that the last byte be within the physical-address width (VM-Exit Control
    Fields, VM-Entry Control Fields).
    """
    counts = (
        abi.VM_EXIT_MSR_STORE_COUNT,
        abi.VM_EXIT_MSR_LOAD_COUNT,
        abi.VM_ENTRY_MSR_LOAD_COUNT,
    )
    return any(fields.get(count, 0) >> 27 for count in counts)


def entry_to_smm(fields: Mapping[int, int]) -> bool:
    """Outside SMM the control is error 7 (VM-Entry Control Fields); Bochs fails the entry late."""
    return bool(fields.get(abi.VM_ENTRY_CONTROLS, 0) & abi.VM_ENTRY_TO_SMM)
