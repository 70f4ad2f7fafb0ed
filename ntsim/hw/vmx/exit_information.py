"""What a VM exit tells the host, before it is written to the VMCS.

Source: SDM 3, "VM-Exit Information Fields", "Recording VM-Exit Information and Updating VM-Entry
Control Fields". Fields that silicon leaves undefined for an exit are written as 0.
"""

from dataclasses import dataclass

from ntsim.hw.vmx import _abi as f
from ntsim.hw.vmx.interruption import Event
from ntsim.hw.vmx.vmcs import Vmcs

ENTRY_FAILURE = 1 << 31
_ENTRY_EVENT = f.VMCS_CTRL_VMENTRY_INTERRUPTION_INFORMATION_FIELD
_VALID = 1 << 31


@dataclass(frozen=True, slots=True)
class ExitInformation:
    """One VM exit. `reason` is the basic exit reason.

    `event` is what 4404H describes (exceptions, NMIs, acknowledged interrupts); `vectoring` is the
    event whose delivery the exit interrupted. `instruction_length` in bytes. `reported_rip` differs
    from the guest's RIP never: trap-like exits happen after it has moved.
    """

    reason: int
    qualification: int = 0
    instruction_length: int = 0
    instruction_information: int = 0
    event: Event | None = None
    vectoring: Event | None = None
    guest_linear_address: int = 0
    guest_physical_address: int = 0
    why: str = ""

    def record(self, vmcs: Vmcs) -> None:
        """Write the fields; the injection field loses its valid bit, the error number stays."""
        put = vmcs.put
        put(f.VMCS_EXIT_REASON, self.reason)
        put(f.VMCS_EXIT_QUALIFICATION, self.qualification)
        put(f.VMCS_VMEXIT_INSTRUCTION_LENGTH, self.instruction_length)
        put(f.VMCS_VMEXIT_INSTRUCTION_INFO, self.instruction_information)
        put(f.VMCS_EXIT_GUEST_LINEAR_ADDRESS, self.guest_linear_address)
        put(f.VMCS_GUEST_PHYSICAL_ADDRESS, self.guest_physical_address)
        event, vectoring = self.event, self.vectoring
        put(f.VMCS_VMEXIT_INTERRUPTION_INFORMATION, event.field if event else 0)
        put(f.VMCS_VMEXIT_INTERRUPTION_ERROR_CODE, (event and event.error_code) or 0)
        put(f.VMCS_IDT_VECTORING_INFORMATION, vectoring.field if vectoring else 0)
        put(f.VMCS_IDT_VECTORING_ERROR_CODE, (vectoring and vectoring.error_code) or 0)
        if vectoring is not None and vectoring.is_software:
            put(f.VMCS_VMEXIT_INSTRUCTION_LENGTH, vectoring.instruction_length)
        put(_ENTRY_EVENT, vmcs.get(_ENTRY_EVENT) & ~_VALID)


def record_entry_failure(vmcs: Vmcs, reason: int, qualification: int) -> None:
    """A failed VM entry records reason and qualification alone."""
    vmcs.put(f.VMCS_EXIT_REASON, ENTRY_FAILURE | reason)
    vmcs.put(f.VMCS_EXIT_QUALIFICATION, qualification)
