"""Checks on the host-state area."""

from ntsim.abi import vmx_constants as abi
from ntsim.hw.vmx.capabilities import FixedBits
from ntsim.hw.vmx.entry.candidate import EFER_DEFINED, Candidate, Section, Violations

_REGISTERS = Section("Checks on Host Control Registers, MSRs, and SSP")
_SEGMENTS = Section("Checks on Host Segment and Descriptor-Table Registers")
_SIZE = Section("Checks Related to Address-Space Size")
_SELECTORS = (
    abi.HOST_ES_SELECTOR,
    abi.HOST_CS_SELECTOR,
    abi.HOST_SS_SELECTOR,
    abi.HOST_DS_SELECTOR,
    abi.HOST_FS_SELECTOR,
    abi.HOST_GS_SELECTOR,
    abi.HOST_TR_SELECTOR,
)
_BASES = (
    abi.HOST_TR_BASE,
    abi.HOST_FS_BASE,
    abi.HOST_GS_BASE,
    abi.HOST_GDTR_BASE,
    abi.HOST_IDTR_BASE,
)


def fixed_bits(c: Candidate, section: Section, field: int, fixed: FixedBits) -> Violations:
    """A control register holds what VMX operation fixes."""
    missing, excess = fixed.missing(c.get(field)), fixed.excess(c.get(field))
    if missing:
        yield section.violation(c, field, "VMX operation fixes bits to 1", f"bits {missing:#x} set")
    if excess:
        yield section.violation(c, field, "VMX operation fixes bits to 0", f"{excess:#x} clear")


def control_registers(c: Candidate) -> Violations:
    """CR0, CR4 and CR3."""
    yield from fixed_bits(c, _REGISTERS, abi.HOST_CR0, c.capabilities.cr0)
    yield from fixed_bits(c, _REGISTERS, abi.HOST_CR4, c.capabilities.cr4)
    if c.get(abi.HOST_CR4) & abi.CR4_CET and not c.get(abi.HOST_CR0) & abi.CR0_WP:
        yield _REGISTERS.violation(c, abi.HOST_CR4, "CET needs CR0.WP", "bit 23 clear")
    if not c.capabilities.within_physical_width(c.get(abi.HOST_CR3)):
        yield _REGISTERS.violation(
            c,
            abi.HOST_CR3,
            "it exceeds the physical-address width",
            f"below 2**{c.capabilities.physical_address_bits}",
        )


def msrs(c: Candidate) -> Violations:
    """SYSENTER, PAT and EFER."""
    yield from _REGISTERS.canonical(c, (abi.HOST_SYSENTER_ESP, abi.HOST_SYSENTER_EIP))
    if c.exit & abi.VM_EXIT_LOAD_IA32_PERF_GLOBAL_CTRL:
        perf = abi.HOST_PERF_GLOBAL_CTRL
        yield from _REGISTERS.zero(
            c, perf, ~c.capabilities.perf_global_ctrl, "the processor has no such counter"
        )
    if c.exit & abi.VM_EXIT_LOAD_IA32_PAT:
        yield from _REGISTERS.pat(c, abi.HOST_PAT)
    if c.exit & abi.VM_EXIT_LOAD_IA32_EFER:
        yield from _efer(c)


def _efer(c: Candidate) -> Violations:
    field = abi.HOST_EFER
    yield from _REGISTERS.zero(c, field, ~EFER_DEFINED, "reserved bits are set")
    for bit, name in ((abi.EFER_LMA, "LMA"), (abi.EFER_LME, "LME")):
        if bool(c.get(field) & bit) != c.host_64:
            yield _REGISTERS.violation(
                c,
                field,
                f'{name} has to equal the "host address-space size" control',
                f"{name} = {int(c.host_64)}",
            )


def selectors(c: Candidate) -> Violations:
    """No RPL, no LDT; CS and TR never null, SS not for a 32-bit host."""
    for field in _SELECTORS:
        yield from _SEGMENTS.zero(c, field, 7, "RPL and TI of a host selector must be 0")
    for field in (abi.HOST_CS_SELECTOR, abi.HOST_TR_SELECTOR):
        if not c.get(field):
            yield _SEGMENTS.violation(c, field, "it must not be null", "a selector other than 0")
    if not c.host_64 and not c.get(abi.HOST_SS_SELECTOR):
        yield _SEGMENTS.violation(
            c, abi.HOST_SS_SELECTOR, "a 32-bit host has a stack segment", "a selector not 0"
        )


def bases(c: Candidate) -> Violations:
    """Base addresses are canonical."""
    yield from _SEGMENTS.canonical(c, _BASES)


def address_space_size(c: Candidate) -> Violations:
    """The processor's mode now, the host's after a VM exit and the guest's fit together."""
    field = abi.VM_EXIT_CONTROLS
    if c.mode.long_mode != c.host_64:
        yield _SIZE.violation(
            c,
            field,
            f'IA32_EFER.LMA is {int(c.mode.long_mode)} and "host address-space size" is not',
            f"bit 9 {'set' if c.mode.long_mode else 'clear'}",
        )
    if not c.host_64:
        yield from _host_32(c)
        return
    if not c.get(abi.HOST_CR4) & abi.CR4_PAE:
        yield _SIZE.violation(c, abi.HOST_CR4, "a 64-bit host needs PAE", "bit 5 set")
    yield from _SIZE.canonical(c, (abi.HOST_RIP,))


def _host_32(c: Candidate) -> Violations:
    if c.ia32e_guest:
        yield _SIZE.violation(
            c, abi.VM_ENTRY_CONTROLS, "a 32-bit host has no IA-32e guests", "bit 9 clear"
        )
    yield from _SIZE.zero(c, abi.HOST_CR4, abi.CR4_PCIDE, "PCIDs need a 64-bit host")
    yield from _SIZE.zero(c, abi.HOST_RIP, ~0xFFFF_FFFF, "a 32-bit host has a 32-bit RIP")


CHECKS = (control_registers, msrs, selectors, bases, address_space_size)
