"""VMCS components as one processor has them; encodings are in `ntsim.abi.vmcs_fields`."""

from ntsim.abi import vmx_constants as abi
from ntsim.hw.vmx.capabilities import VmxCapabilities


def type_of(encoding: int) -> int:
    """VMCS_TYPE_CONTROL, _EXIT_INFO, _GUEST_STATE or _HOST_STATE: bits 11:10."""
    return encoding >> 10 & 3


def has_high_half(encoding: int) -> bool:
    """Only 64-bit fields have a second encoding; natural-width ones do not."""
    return encoding >> 13 & 3 == abi.VMCS_WIDTH_64


def supported_fields(capabilities: VmxCapabilities) -> tuple[int, ...]:
    """The (full) encodings that VMREAD and VMWRITE know on this processor, in ascending order."""
    may_be_one = {
        abi.PIN_BASED_VM_EXEC_CONTROL: capabilities.pin_based.may_be_one,
        abi.CPU_BASED_VM_EXEC_CONTROL: capabilities.primary.may_be_one,
        abi.SECONDARY_VM_EXEC_CONTROL: capabilities.secondary.may_be_one,
        abi.VM_EXIT_CONTROLS: capabilities.vm_exit.may_be_one,
        abi.VM_ENTRY_CONTROLS: capabilities.vm_entry.may_be_one,
        abi.VM_FUNCTION_CONTROL: capabilities.vm_functions,
    }

    def exists(field: abi.VmcsField) -> bool:
        if field.exists_if is None:
            return True
        return any(may_be_one.get(control, 0) >> bit & 1 for control, bit in field.exists_if)

    targets = capabilities.misc.cr3_targets
    absent = {abi.CR3_TARGET_VALUE0 + 2 * i for i in range(targets, 4)}
    return tuple(sorted(e for e, field in abi.FIELDS.items() if exists(field) and e not in absent))
