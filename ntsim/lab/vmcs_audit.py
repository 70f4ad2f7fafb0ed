"""The audit of a VMCS file: which rules of the SDM it breaks, on which processor."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from ntsim.abi import vmx_constants as abi
from ntsim.hw.silicon import DEFAULT, Silicon, silicon_of
from ntsim.hw.silicon.processor import performance_counters
from ntsim.hw.vmx.capabilities import VmxCapabilities
from ntsim.hw.vmx.entry import EntryMode
from ntsim.hw.vmx.entry.auditor import Audit, UnknownMemory, audit_all
from ntsim.hw.vmx.entry.outcome import Stage, Violation
from ntsim.hw.vmx.fields import supported_fields
from ntsim.lab import vmcs_file
from ntsim.lab.vmcs_file import VmcsFile

_UNKNOWN_ADDRESS = 0xFFFF_FFFF_FFFF_F000
_ERRORS = {
    Stage.CONTROLS: abi.VMX_ERROR_ENTRY_INVALID_CONTROLS,
    Stage.HOST: abi.VMX_ERROR_ENTRY_INVALID_HOST_STATE,
}
_REASONS = {
    Stage.GUEST: abi.EXIT_REASON_ENTRY_FAIL_INVALID_GUEST_STATE,
    Stage.MSRS: abi.EXIT_REASON_ENTRY_FAIL_MSR_LOADING,
}


class _Result(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ViolationResult(_Result):
    """One broken rule. `error` is a VM-instruction error, else `exit_reason` a VM-entry failure."""

    stage: str
    field: str
    encoding: str
    value: str
    rule: str
    accepted: str
    section: str
    error: int | None = None
    exit_reason: str | None = None
    qualification: int | None = None


class AuditResult(_Result):
    """What `ntsim vmcs check --json` prints."""

    outcome: str
    cpu: str
    violations: tuple[ViolationResult, ...]
    not_checked: tuple[str, ...]
    assumed_zero: tuple[str, ...]
    unsupported_fields: tuple[str, ...]
    remarks: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Fields:
    """The file's fields as the checks read them; what they ask for and was not given is noted."""

    address: int
    values: dict[int, int]
    assumed: set[int]

    def get(self, encoding: int) -> int:
        if encoding not in self.values:
            self.assumed.add(encoding)
        return self.values.get(encoding, 0)


class _GivenMemory:
    """The pieces of memory that the file has; anything else is unknown."""

    def __init__(self, pieces: dict[int, bytes]) -> None:
        self.pieces = pieces

    def read(self, pa: int, size: int, /) -> bytes:
        for start, data in self.pieces.items():
            if start <= pa and pa + size <= start + len(data):
                return data[pa - start : pa - start + size]
        raise UnknownMemory(pa)

    def write(self, pa: int, data: bytes, /) -> None:
        raise AssertionError("an audit writes nothing")


def audit_file(path: Path, cpu: str | None = None) -> AuditResult:
    """Check the file's VMCS. `cpu` names the processor, else the file does, else the default.

    The processor is silicon, with all that it has: not the model of it, which lacks what ntsim does
    not run. ConfigurationError for a file that cannot be checked.
    """
    file = vmcs_file.read(path)
    processor = silicon_of(cpu or file.document.cpu or DEFAULT.name)
    capabilities = _capabilities(processor, file)
    address = file.document.address
    fields = _Fields(_UNKNOWN_ADDRESS if address is None else address, file.fields, set())
    mode = EntryMode(long_mode=file.document.processor.long_mode)
    audit = audit_all(fields, capabilities, _GivenMemory(file.memory), mode)
    supported = set(supported_fields(capabilities))
    instruction = _instruction_problem(file)
    return AuditResult(
        outcome=instruction or _outcome(file.document.instruction, audit),
        cpu=processor.name + (" with the MSRs of the file" if file.msrs else ""),
        violations=tuple(_violation(*found) for found in audit.violations),
        not_checked=tuple(
            f"{about}: the bytes at {at:#x} are not in the file's memory"
            for about, at in audit.not_checked
        ),
        assumed_zero=_names(fields.assumed & supported),
        unsupported_fields=_names(set(file.fields) - supported),
        remarks=tuple(_remarks(file, audit, instruction)),
    )


def _capabilities(processor: Silicon, file: VmcsFile) -> VmxCapabilities:
    width = file.document.physical_address_bits or processor.physical_address_bits
    counters = performance_counters(processor.performance_monitoring)
    return VmxCapabilities.from_msrs(dict(processor.capability_msrs) | file.msrs, width, counters)


def _names(encodings: set[int]) -> tuple[str, ...]:
    return tuple(abi.field_name(encoding) for encoding in sorted(encodings))


def _violation(stage: Stage, violation: Violation) -> ViolationResult:
    reason = _REASONS.get(stage)
    return ViolationResult(
        stage=stage.value,
        field=abi.field_name(violation.field),
        encoding=f"{violation.field:#06x}",
        value=f"{violation.value:#x}",
        rule=violation.rule,
        accepted=violation.accepted,
        section=f'SDM 3, "{violation.section}"',
        error=_ERRORS.get(stage),
        exit_reason=None if reason is None else f"{abi.VM_EXIT_REASON_ENTRY_FAILURE | reason:#x}",
        qualification=None if reason is None else violation.qualification,
    )


def _instruction_problem(file: VmcsFile) -> str | None:
    """How the instruction fails before anything looks at the VMCS's fields."""
    document = file.document
    error = None
    if document.processor.blocking_by_mov_ss:
        error = abi.VMX_ERROR_ENTRY_BLOCKED_BY_MOV_SS
    elif document.launch_state == "launched" and document.instruction == "VMLAUNCH":
        error = abi.VMX_ERROR_VMLAUNCH_NOT_CLEAR
    elif document.launch_state == "clear" and document.instruction == "VMRESUME":
        error = abi.VMX_ERROR_VMRESUME_NOT_LAUNCHED
    return None if error is None else _fails(document.instruction, error)


def _fails(instruction: str, error: int) -> str:
    return f"{instruction} fails: VMfailValid, error {error} ({abi.INSTRUCTION_ERRORS[error]})"


def _outcome(instruction: str, audit: Audit) -> str:
    if audit.first is None:
        if audit.not_checked:
            return f"{instruction} enters the guest, as far as could be checked"
        return f"{instruction} enters the guest"
    stage, violation = audit.first
    if stage in _ERRORS:
        return _fails(instruction, _ERRORS[stage])
    reason = _REASONS[stage]
    return (
        f"{instruction} ends in a VM-entry failure: exit reason "
        f"{abi.VM_EXIT_REASON_ENTRY_FAILURE | reason:#x} ({abi.exit_reason_name(reason)}), "
        f"qualification {violation.qualification}"
    )


def _remarks(file: VmcsFile, audit: Audit, instruction: str | None) -> list[str]:
    """What the file's own exit information says, and whether the audit explains it."""
    said = []
    if file.fields.get(abi.VM_INSTRUCTION_ERROR):
        error = file.fields[abi.VM_INSTRUCTION_ERROR]
        text = abi.INSTRUCTION_ERRORS.get(error, "a number the SDM does not use")
        said.append(f"the file's VM_INSTRUCTION_ERROR is {error}: {text}")
        explained = audit.first is not None and _ERRORS.get(audit.first[0]) == error
        if error in _ERRORS.values() and not explained and instruction is None:
            said.append(
                "nothing here explains that error: has the file the CPU's own capability MSRs "
                "(msrs), and the fields as they were at the instruction?"
            )
    reason = file.fields.get(abi.VM_EXIT_REASON, 0)
    if reason & abi.VM_EXIT_REASON_ENTRY_FAILURE:
        said.append(
            f"the file's VM_EXIT_REASON is {reason:#x}: a VM-entry failure, "
            f"{abi.exit_reason_name(reason)}"
        )
    return said
