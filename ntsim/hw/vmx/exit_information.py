"""What a VM exit tells the host, before it is written to the VMCS.

Source: SDM 3, "VM-Exit Information Fields", "Recording VM-Exit Information and Updating VM-Entry
Control Fields". Fields that silicon leaves undefined for an exit are written as 0.
"""

from dataclasses import dataclass, field
from functools import cache

from ntsim.abi import vmx_constants as abi
from ntsim.hw.vmx.interruption import Event
from ntsim.hw.vmx.vmcs import Vmcs


@dataclass(slots=True)
class ExitInformation:
    """One VM exit. `reason` is the basic exit reason.

    `event` is what 4404H describes (exceptions, NMIs, acknowledged interrupts); `vectoring` is the
    event whose delivery the exit interrupted. `instruction_length` in bytes. `recorded` is what
    `record` writes without looking, for exits that are made once and happen often: `often`.
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
    recorded: dict[int, int] | None = field(default=None, repr=False, compare=False)

    def record(self, vmcs: Vmcs) -> None:
        """Write the fields; the injection field loses its valid bit, the error number stays."""
        values = vmcs.values
        values.update(self.recorded or self._recorded())
        if abi.GUEST_PHYSICAL_ADDRESS in values:
            values[abi.GUEST_PHYSICAL_ADDRESS] = self.guest_physical_address
        if values[abi.VM_ENTRY_INTR_INFO_FIELD] & abi.INTR_INFO_VALID:
            values[abi.VM_ENTRY_INTR_INFO_FIELD] &= ~abi.INTR_INFO_VALID
        if self.vectoring is not None:
            self._record_vectoring(values, self.vectoring)

    def _recorded(self) -> dict[int, int]:
        event = self.event
        return {
            abi.VM_EXIT_REASON: self.reason,
            abi.EXIT_QUALIFICATION: self.qualification,
            abi.VM_EXIT_INSTRUCTION_LEN: self.instruction_length,
            abi.VM_EXIT_INSTRUCTION_INFO: self.instruction_information,
            abi.GUEST_LINEAR_ADDRESS: self.guest_linear_address,
            abi.VM_EXIT_INTR_INFO: event.field if event else 0,
            abi.VM_EXIT_INTR_ERROR_CODE: (event and event.error_code) or 0,
            abi.IDT_VECTORING_INFO: 0,
            abi.IDT_VECTORING_ERROR_CODE: 0,
        }

    @staticmethod
    def _record_vectoring(values: dict[int, int], vectoring: Event) -> None:
        values[abi.IDT_VECTORING_INFO] = vectoring.field
        values[abi.IDT_VECTORING_ERROR_CODE] = vectoring.error_code or 0
        if vectoring.is_software:
            values[abi.VM_EXIT_INSTRUCTION_LEN] = vectoring.instruction_length


@cache
def often(reason: int, instruction_length: int) -> ExitInformation:
    """The exit of an instruction that has nothing more to say; one object for all of them."""
    found = ExitInformation(reason, 0, instruction_length)
    found.recorded = found._recorded()
    return found


def record_entry_failure(vmcs: Vmcs, reason: int, qualification: int) -> None:
    """A failed VM entry records reason and qualification alone."""
    vmcs.put(abi.VM_EXIT_REASON, abi.VM_EXIT_REASON_ENTRY_FAILURE | reason)
    vmcs.put(abi.EXIT_QUALIFICATION, qualification)
