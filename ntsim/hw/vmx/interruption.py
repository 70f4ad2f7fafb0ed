"""Interruption information: an event in the format of VMCS fields 4016H, 4404H and 4408H.

Bits 7:0 vector, 10:8 type, 11 error code valid (or deliver it), 12 NMI unblocking by IRET (in
VM-exit interruption information), 31 valid.
"""

from dataclasses import dataclass

from ntsim.abi import vmx_constants as abi
from ntsim.hw.exceptions import VECTORS_WITH_ERROR_CODE

_NMI_UNBLOCKING = 1 << 12


@dataclass(slots=True)
class Event:
    """Something delivered through the IDT, or injected: `kind` is the 3-bit type.

    `instruction_length` is in bytes, for the software kinds, which push the RIP behind it.
    `unblocked_nmis`: a fault of an IRET that had ended NMI blocking by then. `injected`: by a VM
    entry, which pushes RF as it has loaded it (SDM 3, "Details of Vectored-Event Injection").
    """

    vector: int
    kind: int
    error_code: int | None = None
    instruction_length: int = 0
    unblocked_nmis: bool = False
    injected: bool = False

    @classmethod
    def from_field(cls, field: int, error_code: int, instruction_length: int) -> "Event | None":
        """None if the valid bit is 0."""
        if not field & abi.INTR_INFO_VALID:
            return None
        error = error_code if field & abi.INTR_INFO_DELIVER_ERROR_CODE else None
        return cls(field & 0xFF, field >> 8 & 7, error, instruction_length)

    @classmethod
    def exception(cls, vector: int, error_code: int | None = None) -> "Event":
        """A hardware exception; INT3 and INTO are software exceptions."""
        kind = (
            abi.INTR_TYPE_SOFTWARE_EXCEPTION
            if vector in (3, 4)
            else abi.INTR_TYPE_HARDWARE_EXCEPTION
        )
        return cls(vector, kind, error_code, 1 if vector in (3, 4) else 0)

    @property
    def field(self) -> int:
        """The 32-bit field, valid bit set."""
        has_code = abi.INTR_INFO_DELIVER_ERROR_CODE if self.error_code is not None else 0
        unblocked = _NMI_UNBLOCKING if self.unblocked_nmis else 0
        return abi.INTR_INFO_VALID | has_code | unblocked | self.kind << 8 | self.vector

    @property
    def is_software(self) -> bool:
        """INT n, INT1, INT3, INTO: the pushed RIP is behind the instruction."""
        return self.kind in (
            abi.INTR_TYPE_SOFTWARE_INTERRUPT,
            abi.INTR_TYPE_PRIVILEGED_SOFTWARE_EXCEPTION,
            abi.INTR_TYPE_SOFTWARE_EXCEPTION,
        )


def pushes_error_code(vector: int) -> bool:
    """Whether a hardware exception of this vector has an error code."""
    return vector in VECTORS_WITH_ERROR_CODE
