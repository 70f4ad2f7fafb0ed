"""VM-entry checks when most of the VMCS is as it was at the last entry.

A VM exit saves valid state, and a handler mostly writes RIP alone: looking at RIP alone makes an
entry ten times cheaper than looking at 150 fields.
"""

from ntsim.abi import vmx_constants as abi
from ntsim.hw.vmx.entry import EntryFailure, EntryMode, VmFail, check
from ntsim.hw.vmx.protocols import VmcsFields
from ntsim.hw.vmx.results import Entered
from ntsim.hw.vmx.state import VmxState
from ntsim.hw.vmx.vmcs import NO_POINTER, Vmcs

_HARMLESS = frozenset({abi.GUEST_RIP, abi.GUEST_RSP})
_ENTERED = Entered()


def checked(state: VmxState, vmcs: Vmcs, fields: VmcsFields) -> Entered | VmFail | EntryFailure:
    """`entry.check`, but for what cannot come out differently than at the last entry.

    `fields` is the VMCS, or what records the fields that the checks ask for.
    """
    if vmcs.verified and vmcs.unchecked <= _HARMLESS and _has_64_bit_rip(vmcs):
        vmcs.unchecked.clear()
        return _ENTERED
    processor = state.processor
    mode = EntryMode(long_mode=bool(processor.efer & abi.EFER_LMA))
    outcome = check(fields, state.capabilities, processor.memory, mode)
    vmcs.verified = isinstance(outcome, Entered) and not _depends_on_more(vmcs)
    vmcs.unchecked.clear()
    return outcome


def _has_64_bit_rip(vmcs: Vmcs) -> bool:
    """The guest runs 64-bit code, and RIP is right for that."""
    values = vmcs.values
    return (
        values[abi.GUEST_RIP] >> 48 in (0, 0xFFFF)
        and bool(values[abi.GUEST_CS_AR_BYTES] & abi.ACCESS_RIGHTS_L)
        and bool(values[abi.VM_ENTRY_CONTROLS] & abi.VM_ENTRY_IA32E_MODE_GUEST)
    )


def _depends_on_more(vmcs: Vmcs) -> bool:
    """Some checks look at memory: at a link pointer's region, VTPR, PDPTEs."""
    values = vmcs.values
    return (
        values[abi.VMCS_LINK_POINTER] != NO_POINTER
        or bool(values[abi.CPU_BASED_VM_EXEC_CONTROL] & abi.CPU_BASED_USE_TPR_SHADOW)
        or not values[abi.VM_ENTRY_CONTROLS] & abi.VM_ENTRY_IA32E_MODE_GUEST
    )
