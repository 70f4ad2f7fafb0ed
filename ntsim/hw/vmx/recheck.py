"""VM-entry checks when most of the VMCS is as it was at the last entry.

A VM exit saves valid state, and a handler mostly writes RIP alone: looking at RIP alone makes an
entry fifty times cheaper than looking at 150 fields.
"""

from ntsim.abi import vmx_constants as abi
from ntsim.hw.vmx.entry import EntryFailure, EntryMode, VmFail, check
from ntsim.hw.vmx.protocols import VmcsFields
from ntsim.hw.vmx.results import ENTERED, Entered
from ntsim.hw.vmx.state import VmxState
from ntsim.hw.vmx.vmcs import NO_POINTER, OF_EVERY_ENTRY, Vmcs

_ORDINARY_FLAGS = 0x3D_7ED7
"""RFLAGS without reserved bits, VM and TF: what 64-bit code may have in any combination."""


def checked(state: VmxState, vmcs: Vmcs, fields: VmcsFields) -> Entered | VmFail | EntryFailure:
    """`entry.check`, but for what cannot come out differently than at the last entry.

    `fields` is the VMCS, or what records the fields that the checks ask for.
    """
    if unchanged(vmcs):
        vmcs.unchecked.clear()
        return ENTERED
    processor = state.processor
    mode = EntryMode(long_mode=bool(processor.efer & abi.EFER_LMA))
    outcome = check(fields, state.capabilities, processor.memory, mode)
    vmcs.verified = isinstance(outcome, Entered) and not _depends_on_more(vmcs)
    vmcs.unchecked.clear()
    return outcome


def unchanged(vmcs: Vmcs) -> bool:
    """Nothing but RIP, RSP and RFLAGS has been written; the guest runs 64-bit code, and they fit.

    Nothing is checked about RSP.
    """
    values = vmcs.values
    return (
        vmcs.verified
        and vmcs.unchecked <= OF_EVERY_ENTRY
        and values[abi.GUEST_RIP] >> 48 in (0, 0xFFFF)
        and bool(values[abi.GUEST_CS_AR_BYTES] & abi.ACCESS_RIGHTS_L)
        and bool(values[abi.VM_ENTRY_CONTROLS] & abi.VM_ENTRY_IA32E_MODE_GUEST)
        and (abi.GUEST_RFLAGS not in vmcs.unchecked or _any_flags_will_do(values))
    )


def _any_flags_will_do(values: dict[int, int]) -> bool:
    """RFLAGS was written, and nothing is pending that asks for IF, TF or BS."""
    return (
        not values[abi.GUEST_RFLAGS] & ~_ORDINARY_FLAGS
        and bool(values[abi.GUEST_RFLAGS] & abi.RFLAGS_FIXED1)
        and not values[abi.GUEST_INTERRUPTIBILITY_STATE]
        and not values[abi.GUEST_ACTIVITY_STATE]
        and not values[abi.VM_ENTRY_INTR_INFO_FIELD] & abi.INTR_INFO_VALID
    )


def _depends_on_more(vmcs: Vmcs) -> bool:
    """Some checks look at memory: at a link pointer's region, VTPR, PDPTEs."""
    values = vmcs.values
    return (
        values[abi.VMCS_LINK_POINTER] != NO_POINTER
        or bool(values[abi.CPU_BASED_VM_EXEC_CONTROL] & abi.CPU_BASED_USE_TPR_SHADOW)
        or not values[abi.VM_ENTRY_CONTROLS] & abi.VM_ENTRY_IA32E_MODE_GUEST
    )
