"""VMCS fields and their values, explained: what `ntsim vmcs fields` and `decode` print."""

from __future__ import annotations

from dataclasses import dataclass

from ntsim.abi import vmx_constants as abi
from ntsim.abi.control_bits import CONTROL_BITS
from ntsim.abi.vmcs_fields import FIELDS, VMCS_HIGH, VMCS_WIDTH_64, VmcsField
from ntsim.errors import ConfigurationError
from ntsim.hw.silicon import silicon_of
from ntsim.hw.vmx.capabilities import VmxCapabilities
from ntsim.hw.vmx.fields import supported_fields
from ntsim.lab.vmcs_file import encoding_of, number

_KINDS = ("control", "exit info", "guest state", "host state")
_INTERRUPTION = (abi.VM_ENTRY_INTR_INFO_FIELD, abi.VM_EXIT_INTR_INFO, abi.IDT_VECTORING_INFO)
_EVENT_TYPES = (
    "external interrupt",
    "reserved",
    "NMI",
    "hardware exception",
    "software interrupt",
    "privileged software exception",
    "software exception",
    "other event",
)
_ACCESS_RIGHTS = (
    (abi.ACCESS_RIGHTS_S, "S (code or data)"),
    (abi.ACCESS_RIGHTS_P, "P"),
    (abi.ACCESS_RIGHTS_AVL, "AVL"),
    (abi.ACCESS_RIGHTS_L, "L (64-bit code)"),
    (abi.ACCESS_RIGHTS_DB, "D/B"),
    (abi.ACCESS_RIGHTS_G, "G (limit in pages)"),
    (abi.ACCESS_RIGHTS_UNUSABLE, "unusable"),
)


@dataclass(frozen=True, slots=True)
class Row:
    """One field of the list; `present` says whether the processor asked about has it."""

    encoding: int
    name: str
    bits: int
    kind: str
    present: bool


def rows(pattern: str, cpu: str | None) -> list[Row]:
    """Fields with the pattern in their name or encoding (four hexadecimal digits)."""
    have = set(FIELDS) if cpu is None else _fields_of(cpu)
    wanted = pattern.upper().removeprefix("0X")
    return [
        Row(encoding, field.name, field.bits, _kind(field), encoding in have)
        for encoding, field in sorted(FIELDS.items())
        if wanted in field.name or wanted in f"{encoding:04X}"
    ]


def _fields_of(cpu: str) -> set[int]:
    found = silicon_of(cpu)
    msrs, width = found.capability_msrs, found.physical_address_bits
    return set(supported_fields(VmxCapabilities.from_msrs(msrs, width)))


def _kind(field: VmcsField) -> str:
    return _KINDS[field.type]


def explain(field: str, value: str | None) -> list[str]:
    """The encoding in parts, then the value. ConfigurationError for no field or no number."""
    encoding = encoding_of(field)
    if encoding is None:
        raise ConfigurationError(
            f"no VMCS field is called {field!r}: `ntsim vmcs fields` lists them"
        )
    known = FIELDS[encoding & ~VMCS_HIGH]
    width = ("16-bit", "64-bit", "32-bit", "natural-width")[known.width]
    access = "read-only unless IA32_VMX_MISC[29]" if known.read_only else "read and written"
    half = ", upper half" if encoding & VMCS_HIGH and known.width == VMCS_WIDTH_64 else ""
    lines = [
        f"{abi.field_name(encoding)} ({encoding:#06x}): {width} {_kind(known)} field"
        f"{half}, index {encoding >> 1 & 0x1FF}, {access}"
    ]
    if value is None:
        return lines
    try:
        found = number(value)
    except ValueError as error:
        raise ConfigurationError(str(error)) from None
    return lines + [f"  {text}" for text in _meaning(encoding, found)]


def _meaning(encoding: int, value: int) -> list[str]:
    if encoding in CONTROL_BITS:
        names = CONTROL_BITS[encoding]
        found = [n for n in range(value.bit_length()) if value >> n & 1]
        return [f"bit {n:>2}  {names.get(n, 'reserved')}" for n in found] or ["no bit is set"]
    name = abi.field_name(encoding)
    if encoding in _INTERRUPTION:
        return _interruption(value)
    if encoding == abi.VM_INSTRUCTION_ERROR:
        return [abi.INSTRUCTION_ERRORS.get(value, "not an error number of the SDM")]
    if encoding == abi.VM_EXIT_REASON:
        entry = ", a VM-entry failure" if value & abi.VM_EXIT_REASON_ENTRY_FAILURE else ""
        return [f"{value & 0xFFFF}: {abi.exit_reason_name(value)}{entry}"]
    if name.endswith("_AR_BYTES"):
        flags = [text for bit, text in _ACCESS_RIGHTS if value & bit]
        kind, dpl = value & abi.ACCESS_RIGHTS_TYPE_MASK, value >> abi.ACCESS_RIGHTS_DPL_SHIFT & 3
        return [", ".join([f"type {kind}", f"DPL {dpl}", *flags])]
    return [f"{value:#x} = {value}"]


def _interruption(value: int) -> list[str]:
    if not value & abi.INTR_INFO_VALID:
        return ["not valid: no event"]
    kind = _EVENT_TYPES[value >> abi.INTR_INFO_TYPE_SHIFT & 7]
    vector = value & abi.INTR_INFO_VECTOR_MASK
    error_code = ", with an error code" if value & abi.INTR_INFO_DELIVER_ERROR_CODE else ""
    return [f"{kind}, vector {vector}{error_code}"]
