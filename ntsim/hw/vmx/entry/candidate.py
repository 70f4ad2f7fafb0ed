"""The VMCS under examination, as the checks read it."""

from collections.abc import Iterable, Iterator
from typing import TypeAlias

from ntsim.abi import vmx_constants as abi
from ntsim.hw.vmx.capabilities import VmxCapabilities
from ntsim.hw.vmx.entry.outcome import EntryMode, Violation
from ntsim.hw.vmx.protocols import Memory, VmcsFields

EFER_DEFINED = abi.EFER_SCE | abi.EFER_LME | abi.EFER_LMA | abi.EFER_NXE
_PAT_TYPES = frozenset({0, 1, 4, 5, 6, 7})

Violations: TypeAlias = Iterator[Violation]


class Candidate:
    """Field values by encoding, and the control words, secondary ones as 0 when not activated."""

    def __init__(
        self, vmcs: VmcsFields, capabilities: VmxCapabilities, memory: Memory, mode: EntryMode
    ) -> None:
        self.vmcs = vmcs
        self.get = vmcs.get
        self.capabilities = capabilities
        self.memory = memory
        self.mode = mode
        self.pin = vmcs.get(abi.PIN_BASED_VM_EXEC_CONTROL)
        self.primary = vmcs.get(abi.CPU_BASED_VM_EXEC_CONTROL)
        activated = self.primary & abi.CPU_BASED_ACTIVATE_SECONDARY_CONTROLS
        self.secondary = vmcs.get(abi.SECONDARY_VM_EXEC_CONTROL) if activated else 0
        self.exit = vmcs.get(abi.VM_EXIT_CONTROLS)
        self.entry = vmcs.get(abi.VM_ENTRY_CONTROLS)

    @property
    def unrestricted(self) -> bool:
        """The "unrestricted guest" control."""
        return bool(self.secondary & abi.SECONDARY_UNRESTRICTED_GUEST)

    @property
    def ia32e_guest(self) -> bool:
        """The "IA-32e mode guest" control."""
        return bool(self.entry & abi.VM_ENTRY_IA32E_MODE_GUEST)

    @property
    def host_64(self) -> bool:
        """The "host address-space size" control."""
        return bool(self.exit & abi.VM_EXIT_HOST_ADDRESS_SPACE_SIZE)

    @property
    def virtual_8086(self) -> bool:
        """RFLAGS.VM of the guest."""
        return bool(self.get(abi.GUEST_RFLAGS) & abi.RFLAGS_VM)


class Section:
    """One section of the SDM: makes the violations of its checks, which cite it."""

    def __init__(self, title: str) -> None:
        self.title = title

    def violation(
        self, c: Candidate, field: int, rule: str, accepted: str, qualification: int = 0
    ) -> Violation:
        """`field` breaks `rule`."""
        return Violation(field, c.get(field), rule, accepted, self.title, qualification)

    def page(self, c: Candidate, field: int) -> Violations:
        """The field holds the address of a 4-KByte structure."""
        if not c.capabilities.is_page(c.get(field)):
            yield self.violation(
                c,
                field,
                "it has to be the physical address of a 4-KByte page",
                f"bits 11:0 zero, below 2**{c.capabilities.physical_address_bits}",
            )

    def canonical(self, c: Candidate, fields: Iterable[int]) -> Violations:
        """Each field holds a canonical linear address."""
        for field in fields:
            if not c.capabilities.is_canonical(c.get(field)):
                bits = c.capabilities.linear_address_bits
                yield self.violation(
                    c,
                    field,
                    "the address is not canonical",
                    f"bits 63:{bits - 1} all equal",
                )

    def zero(self, c: Candidate, field: int, mask: int, rule: str) -> Violations:
        """None of the bits of `mask` is set."""
        excess = c.get(field) & mask
        if excess:
            yield self.violation(c, field, rule, f"bits {excess:#x} clear")

    def pat(self, c: Candidate, field: int) -> Violations:
        """Each of the eight bytes names a memory type."""
        if any(byte not in _PAT_TYPES for byte in c.get(field).to_bytes(8, "little")):
            yield self.violation(
                c, field, "a byte is no memory type", "each byte 0, 1, 4, 5, 6 or 7"
            )
