"""An audit of a VMCS that no processor has: everything an entry would refuse, stage by stage.

It is for a VMCS that somebody wrote down, so parts of memory may be unknown; a check that needs
those is listed as not made. Source of the rules: the checks themselves.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from ntsim.abi import vmx_constants as abi
from ntsim.hw.vmx import msr_areas
from ntsim.hw.vmx.capabilities import VmxCapabilities
from ntsim.hw.vmx.entry.candidate import Candidate, Section, Violations
from ntsim.hw.vmx.entry.check import CONTROLS, GUEST, HOST, stage_of
from ntsim.hw.vmx.entry.outcome import EntryMode, Stage, Violation
from ntsim.hw.vmx.protocols import Memory, VmcsFields

_LOADING = Section("Loading MSRs")


class UnknownMemory(Exception):
    """A check wants memory whose contents nobody gave."""

    def __init__(self, address: int) -> None:
        super().__init__(address)
        self.address = address


@dataclass(slots=True)
class Audit:
    """What was found: violations with the stage they belong to, and the checks not made."""

    violations: list[tuple[Stage, Violation]] = field(default_factory=list)
    not_checked: list[tuple[str, int]] = field(default_factory=list)

    @property
    def first(self) -> tuple[Stage, Violation] | None:
        """What decides how the entry ends."""
        return self.violations[0] if self.violations else None


def audit_all(
    vmcs: VmcsFields, capabilities: VmxCapabilities, memory: Memory, mode: EntryMode
) -> Audit:
    """Every check, the MSR-load list's too."""
    candidate = Candidate(vmcs, capabilities, memory, mode)
    found = Audit()
    for check in (*CONTROLS, *HOST, *GUEST):
        _run(found, stage_of(check), check, candidate)
    _run(found, Stage.MSRS, _msr_load_list, candidate)
    return found


def _run(
    found: Audit, stage: Stage, check: Callable[[Candidate], Violations], candidate: Candidate
) -> None:
    made: Iterator[Violation] = check(candidate)
    try:
        for violation in made:
            found.violations.append((stage, violation))
    except UnknownMemory as unknown:
        about = (check.__doc__ or check.__name__).strip().rstrip(".")
        found.not_checked.append((about, unknown.address))


def _msr_load_list(c: Candidate) -> Violations:
    """The VM-entry MSR-load list: entries that no processor loads."""
    count, address = c.get(abi.VM_ENTRY_MSR_LOAD_COUNT), c.get(abi.VM_ENTRY_MSR_LOAD_ADDR)
    for number, problem in msr_areas.unloadable(c.memory, address, count):
        yield _LOADING.violation(
            c,
            abi.VM_ENTRY_MSR_LOAD_ADDR,
            f"entry {number} of the list: {problem}",
            "an MSR that WRMSR takes there, bits 63:32 of the entry clear",
            number,
        )
