"""Which fields a VM entry depends on that software never wrote since VMCLEAR.

On silicon such a field holds what its region held: zero if the driver zeroed the page, rubbish if
it did not. The entry works or fails by luck, which is why a verifier wants to hear of it.
"""

from ntsim.abi import vmx_constants as abi
from ntsim.hw.vmx.vmcs import Vmcs

# Used while the guest runs or at its exit, without a check at entry.
_USED_LATER = (
    abi.EXCEPTION_BITMAP,
    abi.PAGE_FAULT_ERROR_CODE_MASK,
    abi.PAGE_FAULT_ERROR_CODE_MATCH,
    abi.CR0_GUEST_HOST_MASK,
    abi.CR4_GUEST_HOST_MASK,
    abi.HOST_RSP,
    abi.HOST_SYSENTER_CS,
)
_USED_IF_MASKED = {
    abi.CR0_GUEST_HOST_MASK: abi.CR0_READ_SHADOW,
    abi.CR4_GUEST_HOST_MASK: abi.CR4_READ_SHADOW,
}
_USED_IF_CONTROLLED = {abi.CPU_BASED_USE_TSC_OFFSETTING: abi.TSC_OFFSET}


class RecordingFields:
    """A VMCS that remembers which of its fields were asked for."""

    def __init__(self, vmcs: Vmcs) -> None:
        self.address = vmcs.address
        self.vmcs = vmcs
        self.asked: set[int] = set()

    def get(self, encoding: int) -> int:
        """The field; 0 if the processor lacks it."""
        self.asked.add(encoding)
        return self.vmcs.get(encoding)

    def unwritten(self) -> tuple[int, ...]:
        """What the entry took, or will take, that nobody wrote; in encoding order."""
        vmcs = self.vmcs
        used = self.asked.union(_USED_LATER)
        used.update(shadow for mask, shadow in _USED_IF_MASKED.items() if vmcs.get(mask))
        primary = vmcs.get(abi.CPU_BASED_VM_EXEC_CONTROL)
        used.update(field for bit, field in _USED_IF_CONTROLLED.items() if primary & bit)
        return tuple(encoding for encoding in vmcs.never_written() if encoding in used)
