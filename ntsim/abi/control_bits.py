"""The bits of the VMCS's control words by name, for messages and for reading controls in files.

Derived from the constants of `vmx_constants`, so that a message says what a driver's header says.
"""

from ntsim.abi import vmcs_fields
from ntsim.abi import vmx_constants as abi

_PREFIXES = {
    abi.PIN_BASED_VM_EXEC_CONTROL: "PIN_BASED_",
    abi.CPU_BASED_VM_EXEC_CONTROL: "CPU_BASED_",
    abi.SECONDARY_VM_EXEC_CONTROL: "SECONDARY_",
    abi.TERTIARY_VM_EXEC_CONTROL: "TERTIARY_",
    abi.VM_EXIT_CONTROLS: "VM_EXIT_",
    abi.VM_ENTRY_CONTROLS: "VM_ENTRY_",
}
_FIELDS_BY_NAME = {field.name for field in vmcs_fields.FIELDS.values()}
_NOT_CONTROLS = "VM_EXIT_REASON_"


def _bits_of(prefix: str) -> dict[int, str]:
    return {
        value.bit_length() - 1: name.removeprefix(prefix)
        for name, value in vars(abi).items()
        if name.startswith(prefix)
        and name not in _FIELDS_BY_NAME
        and not name.startswith(_NOT_CONTROLS)
        and isinstance(value, int)
        and value.bit_count() == 1
    }


CONTROL_BITS: dict[int, dict[int, str]] = {
    field: _bits_of(prefix) for field, prefix in _PREFIXES.items()
}
"""Control word to bit position to the control's name without its prefix."""


def name_bits(field: int, mask: int) -> str:
    """ "bits 5 (VIRTUAL_NMIS) and 6 (...)" of a control word; reserved ones have no name."""
    names = CONTROL_BITS.get(field, {})
    found = [n for n in range(mask.bit_length()) if mask >> n & 1]
    each = [f"{n} ({names[n]})" if n in names else str(n) for n in found]
    if len(each) == 1:
        return f"bit {each[0]}"
    return f"bits {', '.join(each[:-1])} and {each[-1]}"
