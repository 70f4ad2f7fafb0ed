"""Checks on guest control registers, debug registers, MSRs, RIP and RFLAGS."""

from ntsim.hw.vmx import _abi as f
from ntsim.hw.vmx import controls as ctl
from ntsim.hw.vmx import interruption
from ntsim.hw.vmx.capabilities import FixedBits
from ntsim.hw.vmx.entry.candidate import (
    CR0_PE,
    CR0_PG,
    CR0_WP,
    CR4_CET,
    CR4_PAE,
    CR4_PCIDE,
    EFER_DEFINED,
    EFER_LMA,
    EFER_LME,
    RFLAGS_IF,
    RFLAGS_VM,
    Candidate,
    Section,
    Violations,
)
from ntsim.hw.vmx.entry.host_state import PERF_GLOBAL_RESERVED, fixed_bits

_REGISTERS = Section("Checks on Guest Control Registers, Debug Registers, and MSRs")
_RIP = Section("Checks on Guest RIP, RFLAGS, and SSP")
_CS_L = 1 << 13
_RFLAGS_RESERVED = 0xFFFF_FFFF_FFC0_8028
_DEBUGCTL_DEFINED = 0xDFC3
"""LBR, BTF, 6 to 12 (branch trace, freezes), FREEZE_WHILE_SMM, RTM: SDM 3, "IA32_DEBUGCTL MSR"."""
_BNDCFGS_RESERVED = 0xFFC


def control_registers(c: Candidate) -> Violations:
    """CR0, CR4 and CR3; an unrestricted guest may clear CR0.PE and CR0.PG."""
    cr0, cr4 = c.get(f.VMCS_GUEST_CR0), c.get(f.VMCS_GUEST_CR4)
    fixed = c.capabilities.cr0
    if c.unrestricted:
        fixed = FixedBits(fixed.must_be_one & ~(CR0_PE | CR0_PG), fixed.may_be_one)
    yield from fixed_bits(c, _REGISTERS, f.VMCS_GUEST_CR0, fixed)
    if cr0 & CR0_PG and not cr0 & CR0_PE:
        yield _REGISTERS.violation(c, f.VMCS_GUEST_CR0, "paging needs protection", "PE set")
    yield from fixed_bits(c, _REGISTERS, f.VMCS_GUEST_CR4, c.capabilities.cr4)
    if cr4 & CR4_CET and not cr0 & CR0_WP:
        yield _REGISTERS.violation(c, f.VMCS_GUEST_CR4, "CET needs CR0.WP", "bit 23 clear")
    if c.ia32e_guest:
        if not cr0 & CR0_PG:
            yield _REGISTERS.violation(c, f.VMCS_GUEST_CR0, "IA-32e mode needs paging", "PG set")
        if not cr4 & CR4_PAE:
            yield _REGISTERS.violation(c, f.VMCS_GUEST_CR4, "IA-32e mode needs PAE", "bit 5 set")
    else:
        yield from _REGISTERS.zero(
            c, f.VMCS_GUEST_CR4, CR4_PCIDE, "PCIDs need an IA-32e mode guest"
        )
    if not c.capabilities.within_physical_width(c.get(f.VMCS_GUEST_CR3)):
        yield _REGISTERS.violation(
            c,
            f.VMCS_GUEST_CR3,
            "it exceeds the physical-address width",
            f"below 2**{c.capabilities.physical_address_bits}",
        )


def debug_registers(c: Candidate) -> Violations:
    """IA32_DEBUGCTL and DR7, if they are loaded."""
    if c.entry & ctl.ENTRY_LOAD_DEBUG_CONTROLS:
        reserved = "reserved bits are set"
        yield from _REGISTERS.zero(c, f.VMCS_GUEST_DEBUGCTL, ~_DEBUGCTL_DEFINED, reserved)
        yield from _REGISTERS.zero(c, f.VMCS_GUEST_DR7, ~0xFFFF_FFFF, reserved)


def msrs(c: Candidate) -> Violations:
    """SYSENTER, and what the VM-entry controls load."""
    yield from _REGISTERS.canonical(c, (f.VMCS_GUEST_SYSENTER_ESP, f.VMCS_GUEST_SYSENTER_EIP))
    if c.entry & ctl.ENTRY_LOAD_PERF_GLOBAL_CTRL:
        perf = f.VMCS_GUEST_PERF_GLOBAL_CTRL
        yield from _REGISTERS.zero(c, perf, PERF_GLOBAL_RESERVED, "reserved bits are set")
    if c.entry & ctl.ENTRY_LOAD_PAT:
        yield from _REGISTERS.pat(c, f.VMCS_GUEST_PAT)
    if c.entry & ctl.ENTRY_LOAD_EFER:
        yield from _efer(c)
    if c.entry & ctl.ENTRY_LOAD_BNDCFGS:
        field = f.VMCS_GUEST_BNDCFGS
        yield from _REGISTERS.zero(c, field, _BNDCFGS_RESERVED, "reserved bits are set")
        if not c.capabilities.is_canonical(c.get(field) & ~0xFFF):
            yield _REGISTERS.violation(c, field, "its base is not canonical", "a canonical base")


def _efer(c: Candidate) -> Violations:
    field = f.VMCS_GUEST_EFER
    efer = c.get(field)
    yield from _REGISTERS.zero(c, field, ~EFER_DEFINED, "reserved bits are set")
    lma, lme = bool(efer & EFER_LMA), bool(efer & EFER_LME)
    if lma != c.ia32e_guest:
        yield _REGISTERS.violation(
            c,
            field,
            'LMA has to equal the "IA-32e mode guest" control',
            f"LMA = {int(c.ia32e_guest)}",
        )
    if c.get(f.VMCS_GUEST_CR0) & CR0_PG and lma != lme:
        yield _REGISTERS.violation(
            c, field, "with paging LMA has to equal LME", f"LME = {int(lma)}"
        )


def rip_and_rflags(c: Candidate) -> Violations:
    """RIP fits the code segment; RFLAGS fits the mode, and an injected interrupt needs IF."""
    rip, rflags = c.get(f.VMCS_GUEST_RIP), c.get(f.VMCS_GUEST_RFLAGS)
    if not c.ia32e_guest or not c.get(f.VMCS_GUEST_CS_ACCESS_RIGHTS) & _CS_L:
        yield from _RIP.zero(c, f.VMCS_GUEST_RIP, ~0xFFFF_FFFF, "code here is not 64-bit")
    else:
        bits = c.capabilities.linear_address_bits
        top = rip >> bits
        if top not in (0, (1 << 64 - bits) - 1):
            yield _RIP.violation(
                c, f.VMCS_GUEST_RIP, "too wide a linear address", f"bits 63:{bits} equal"
            )
    yield from _RIP.zero(c, f.VMCS_GUEST_RFLAGS, _RFLAGS_RESERVED, "reserved bits are set")
    if not rflags & 1 << 1:
        yield _RIP.violation(c, f.VMCS_GUEST_RFLAGS, "bit 1 is always 1", "bit 1 set")
    if rflags & RFLAGS_VM and (c.ia32e_guest or not c.get(f.VMCS_GUEST_CR0) & CR0_PE):
        yield _RIP.violation(
            c, f.VMCS_GUEST_RFLAGS, "virtual-8086 mode needs 32-bit protected mode", "VM clear"
        )
    injected = c.get(f.VMCS_CTRL_VMENTRY_INTERRUPTION_INFORMATION_FIELD)
    external = injected & interruption.VALID and not injected >> 8 & 7
    if external and not rflags & RFLAGS_IF:
        yield _RIP.violation(c, f.VMCS_GUEST_RFLAGS, "an external interrupt is injected", "IF set")


CHECKS = (control_registers, debug_registers, msrs)
LATER_CHECKS = (rip_and_rflags,)
