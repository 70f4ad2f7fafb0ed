"""Checks on guest control registers, debug registers, MSRs, RIP and RFLAGS."""

from ntsim.abi import vmx_constants as abi
from ntsim.hw.vmx.capabilities import FixedBits
from ntsim.hw.vmx.entry.candidate import EFER_DEFINED, Candidate, Section, Violations
from ntsim.hw.vmx.entry.host_state import fixed_bits

_REGISTERS = Section("Checks on Guest Control Registers, Debug Registers, and MSRs")
_RIP = Section("Checks on Guest RIP, RFLAGS, and SSP")
_RFLAGS_RESERVED = 0xFFFF_FFFF_FFC0_8028
_DEBUGCTL_DEFINED = 0x5FC3
"""LBR, BTF, 6 to 12 (branch trace, freezes), FREEZE_WHILE_SMM: SDM 3, "IA32_DEBUGCTL MSR"."""
_BNDCFGS_RESERVED = 0xFFC


def control_registers(c: Candidate) -> Violations:
    """CR0, CR4 and CR3; an unrestricted guest may clear CR0.PE and CR0.PG."""
    cr0, cr4 = c.get(abi.GUEST_CR0), c.get(abi.GUEST_CR4)
    fixed = c.capabilities.cr0
    if c.unrestricted:
        fixed = FixedBits(fixed.must_be_one & ~(abi.CR0_PE | abi.CR0_PG), fixed.may_be_one)
    yield from fixed_bits(c, _REGISTERS, abi.GUEST_CR0, fixed)
    if cr0 & abi.CR0_PG and not cr0 & abi.CR0_PE:
        yield _REGISTERS.violation(c, abi.GUEST_CR0, "paging needs protection", "PE set")
    yield from fixed_bits(c, _REGISTERS, abi.GUEST_CR4, c.capabilities.cr4)
    if cr4 & abi.CR4_CET and not cr0 & abi.CR0_WP:
        yield _REGISTERS.violation(c, abi.GUEST_CR4, "CET needs CR0.WP", "bit 23 clear")
    if c.ia32e_guest:
        if not cr0 & abi.CR0_PG:
            yield _REGISTERS.violation(c, abi.GUEST_CR0, "IA-32e mode needs paging", "PG set")
        if not cr4 & abi.CR4_PAE:
            yield _REGISTERS.violation(c, abi.GUEST_CR4, "IA-32e mode needs PAE", "bit 5 set")
    else:
        yield from _REGISTERS.zero(
            c, abi.GUEST_CR4, abi.CR4_PCIDE, "PCIDs need an IA-32e mode guest"
        )
    if not c.capabilities.within_physical_width(c.get(abi.GUEST_CR3)):
        yield _REGISTERS.violation(
            c,
            abi.GUEST_CR3,
            "it exceeds the physical-address width",
            f"below 2**{c.capabilities.physical_address_bits}",
        )


def debug_registers(c: Candidate) -> Violations:
    """IA32_DEBUGCTL and DR7, if they are loaded."""
    if c.entry & abi.VM_ENTRY_LOAD_DEBUG_CONTROLS:
        reserved = "reserved bits are set"
        yield from _REGISTERS.zero(c, abi.GUEST_IA32_DEBUGCTL, ~_DEBUGCTL_DEFINED, reserved)
        yield from _REGISTERS.zero(c, abi.GUEST_DR7, ~0xFFFF_FFFF, reserved)


def msrs(c: Candidate) -> Violations:
    """SYSENTER, and what the VM-entry controls load."""
    yield from _REGISTERS.canonical(c, (abi.GUEST_SYSENTER_ESP, abi.GUEST_SYSENTER_EIP))
    if c.entry & abi.VM_ENTRY_LOAD_IA32_PERF_GLOBAL_CTRL:
        perf = abi.GUEST_PERF_GLOBAL_CTRL
        yield from _REGISTERS.zero(
            c, perf, ~c.capabilities.perf_global_ctrl, "the processor has no such counter"
        )
    if c.entry & abi.VM_ENTRY_LOAD_IA32_PAT:
        yield from _REGISTERS.pat(c, abi.GUEST_PAT)
    if c.entry & abi.VM_ENTRY_LOAD_IA32_EFER:
        yield from _efer(c)
    if c.entry & abi.VM_ENTRY_LOAD_IA32_BNDCFGS:
        field = abi.GUEST_BNDCFGS
        yield from _REGISTERS.zero(c, field, _BNDCFGS_RESERVED, "reserved bits are set")
        if not c.capabilities.is_canonical(c.get(field) & ~0xFFF):
            yield _REGISTERS.violation(c, field, "its base is not canonical", "a canonical base")


def _efer(c: Candidate) -> Violations:
    field = abi.GUEST_EFER
    efer = c.get(field)
    yield from _REGISTERS.zero(c, field, ~EFER_DEFINED, "reserved bits are set")
    lma, lme = bool(efer & abi.EFER_LMA), bool(efer & abi.EFER_LME)
    if lma != c.ia32e_guest:
        yield _REGISTERS.violation(
            c,
            field,
            'LMA has to equal the "IA-32e mode guest" control',
            f"LMA = {int(c.ia32e_guest)}",
        )
    if c.get(abi.GUEST_CR0) & abi.CR0_PG and lma != lme:
        yield _REGISTERS.violation(
            c, field, "with paging LMA has to equal LME", f"LME = {int(lma)}"
        )


def rip_and_rflags(c: Candidate) -> Violations:
    """RIP fits the code segment; RFLAGS fits the mode, and an injected interrupt needs IF."""
    rip, rflags = c.get(abi.GUEST_RIP), c.get(abi.GUEST_RFLAGS)
    if not c.ia32e_guest or not c.get(abi.GUEST_CS_AR_BYTES) & abi.ACCESS_RIGHTS_L:
        yield from _RIP.zero(c, abi.GUEST_RIP, ~0xFFFF_FFFF, "code here is not 64-bit")
    else:
        bits = c.capabilities.linear_address_bits
        top = rip >> bits
        if top not in (0, (1 << 64 - bits) - 1):
            yield _RIP.violation(
                c, abi.GUEST_RIP, "too wide a linear address", f"bits 63:{bits} equal"
            )
    yield from _RIP.zero(c, abi.GUEST_RFLAGS, _RFLAGS_RESERVED, "reserved bits are set")
    if not rflags & 1 << 1:
        yield _RIP.violation(c, abi.GUEST_RFLAGS, "bit 1 is always 1", "bit 1 set")
    if rflags & abi.RFLAGS_VM and (c.ia32e_guest or not c.get(abi.GUEST_CR0) & abi.CR0_PE):
        yield _RIP.violation(
            c, abi.GUEST_RFLAGS, "virtual-8086 mode needs 32-bit protected mode", "VM clear"
        )
    injected = c.get(abi.VM_ENTRY_INTR_INFO_FIELD)
    external = injected & abi.INTR_INFO_VALID and not injected >> 8 & 7
    if external and not rflags & abi.RFLAGS_IF:
        yield _RIP.violation(c, abi.GUEST_RFLAGS, "an external interrupt is injected", "IF set")


CHECKS = (control_registers, debug_registers, msrs)
LATER_CHECKS = (rip_and_rflags,)
