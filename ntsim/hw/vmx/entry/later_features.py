"""Checks on fields of later processors: CET, protection keys, Intel PT, HLAT, IPI virtualization.

No model of ntsim has these controls; the auditor knows them for people with newer hardware.
"""

from ntsim.abi import vmx_constants as abi
from ntsim.hw.vmx.entry.candidate import Candidate, Section, Violations

_EXECUTION = Section("VM-Execution Control Fields")
_EXIT = Section("VM-Exit Control Fields")
_HOST = Section("Checks on Host Control Registers, MSRs, and SSP")
_GUEST = Section("Checks on Guest Control Registers, Debug Registers, and MSRs")
_RIP = Section("Checks on Guest RIP, RFLAGS, and SSP")
_S_CET_RESERVED = 0x3C0
_SUPPRESS_AND_WAIT = 0xC00  # SUPPRESS and TRACKER
_PKRS_RESERVED = 0xFFFF_FFFF_0000_0000
_UINV_RESERVED = 0xFF00
_RESERVED = "reserved bits are set"


def _tertiary(c: Candidate) -> int:
    activated = c.primary & abi.CPU_BASED_ACTIVATE_TERTIARY_CONTROLS
    return c.get(abi.TERTIARY_VM_EXEC_CONTROL) if activated else 0


def execution(c: Candidate) -> Violations:
    """HLAT, IPI virtualization, PASID translation, Intel PT."""
    tertiary = _tertiary(c)
    ept = c.secondary & abi.SECONDARY_ENABLE_EPT
    if tertiary & abi.TERTIARY_ENABLE_HLAT:
        if not ept:
            field = abi.TERTIARY_VM_EXEC_CONTROL
            yield _EXECUTION.violation(c, field, "HLAT needs EPT", "bit 1 clear")
        pointer = abi.HLAT_POINTER
        width = c.capabilities.physical_address_bits
        beyond = ~((1 << width) - 1)
        yield from _EXECUTION.zero(c, pointer, 0xFE7 | beyond, _RESERVED)
    if tertiary & abi.TERTIARY_ENABLE_IPI_VIRTUALIZATION:
        table = abi.PID_POINTER_TABLE
        yield from _EXECUTION.zero(c, table, 7, "the table is 8-byte aligned")
        last = c.get(table) + 8 * c.get(abi.LAST_PID_POINTER_INDEX) + 7
        if not c.capabilities.within_physical_width(last):
            yield _EXECUTION.violation(
                c, table, f"the table ends at {last:#x}", "within the physical-address width"
            )
    if c.secondary & abi.SECONDARY_ENABLE_PASID_TRANSLATION:
        yield from _EXECUTION.page(c, abi.LOW_PASID_DIRECTORY)
        yield from _EXECUTION.page(c, abi.HIGH_PASID_DIRECTORY)
    if c.secondary & abi.SECONDARY_PT_USES_GUEST_PHYSICAL_ADDRESSES:
        yield from _processor_trace(c, bool(ept))


def _processor_trace(c: Candidate, ept: bool) -> Violations:
    field = abi.SECONDARY_VM_EXEC_CONTROL
    if not ept:
        yield _EXECUTION.violation(
            c, field, "PT using guest physical addresses needs EPT", "bit 24 clear"
        )
    loads = c.entry & abi.VM_ENTRY_LOAD_IA32_RTIT_CTL
    if not (loads and c.exit & abi.VM_EXIT_CLEAR_IA32_RTIT_CTL):
        yield _EXECUTION.violation(
            c,
            field,
            "PT using guest physical addresses needs IA32_RTIT_CTL loaded and cleared",
            "bit 18 of the VM-entry and bit 25 of the VM-exit controls set",
        )


def exit_controls(c: Candidate) -> Violations:
    """The secondary VM-exit controls."""
    if c.exit & abi.VM_EXIT_ACTIVATE_SECONDARY_CONTROLS:
        allowed = c.capabilities.secondary_exit
        excess = allowed.excess(c.get(abi.SECONDARY_VM_EXIT_CONTROLS))
        name = f"{allowed.name} lacks it"
        yield from _EXIT.zero(c, abi.SECONDARY_VM_EXIT_CONTROLS, excess, name)


def host(c: Candidate) -> Violations:
    """CET state and IA32_PKRS of the host."""
    if c.exit & abi.VM_EXIT_LOAD_CET_STATE:
        yield from _cet(c, _HOST, abi.HOST_S_CET, abi.HOST_SSP, abi.HOST_INTERRUPT_SSP_TABLE_ADDR)
    if c.exit & abi.VM_EXIT_LOAD_IA32_PKRS:
        yield from _HOST.zero(c, abi.HOST_PKRS, _PKRS_RESERVED, "bits 63:32 are reserved")


def guest(c: Candidate) -> Violations:
    """CET state, IA32_PKRS and UINV of the guest."""
    if c.entry & abi.VM_ENTRY_LOAD_CET_STATE:
        yield from _cet(
            c, _GUEST, abi.GUEST_S_CET, abi.GUEST_SSP, abi.GUEST_INTERRUPT_SSP_TABLE_ADDR
        )
    if c.entry & abi.VM_ENTRY_LOAD_IA32_PKRS:
        yield from _GUEST.zero(c, abi.GUEST_PKRS, _PKRS_RESERVED, "bits 63:32 are reserved")
    if c.entry & abi.VM_ENTRY_LOAD_UINV:
        yield from _GUEST.zero(c, abi.GUEST_UINV, _UINV_RESERVED, "a vector has 8 bits")


def _cet(c: Candidate, section: Section, s_cet: int, ssp: int, table: int) -> Violations:
    yield from section.canonical(c, (s_cet, table))
    yield from section.zero(c, s_cet, _S_CET_RESERVED, _RESERVED)
    if c.get(s_cet) & _SUPPRESS_AND_WAIT == _SUPPRESS_AND_WAIT:
        yield section.violation(
            c, s_cet, "SUPPRESS and WAIT_FOR_ENDBRANCH are both 1", "one of bits 10 and 11"
        )
    yield from _RIP.zero(c, ssp, 3, "the shadow stack is 4-byte aligned")


EXECUTION_CHECKS = (execution,)
EXIT_CHECKS = (exit_controls,)
HOST_CHECKS = (host,)
GUEST_CHECKS = (guest,)
