"""VM entries and VM exits of a guest that nobody looks at in between.

A handler that returns goes back to its guest at once: between its VMRESUME and the next VM exit
nothing but the engine runs, and the engine still has the guest. Loading the guest's state into the
processor then, and saving it again, would move numbers that are where they belong already.
"""

from __future__ import annotations

from ntsim.abi import vmx_constants as abi
from ntsim.hw.vmx.events import VmEntered, VmExited
from ntsim.hw.vmx.exit_information import ExitInformation
from ntsim.hw.vmx.exits import GuestExit
from ntsim.hw.vmx.guest.state import RFLAGS, RIP, RSP, Guest
from ntsim.hw.vmx.instructions.guards import in_root_ring_0
from ntsim.hw.vmx.recheck import unchanged
from ntsim.hw.vmx.state import VmxMode
from ntsim.hw.vmx.transition import (
    CR0_KEPT,
    load_by_controls,
    load_host,
    loaded_efer,
    save_by_controls,
)
from ntsim.hw.vmx.vmcs import Vmcs

_ROOT, _NON_ROOT = VmxMode.ROOT, VmxMode.NON_ROOT
_NEVER_INVALID = frozenset({abi.GUEST_RIP, abi.GUEST_RSP})
"""Fields whose checks are made here (RIP), or that have none."""
_CANONICAL = (0, 0xFFFF)
"""What bits 63:48 may be for the check of `recheck.unchanged`."""


def enter(guest: Guest) -> bool:
    """VMRESUME that leaves the guest's state out of the processor; False: it cannot be that short.

    Why this is what VMRESUME does, as far as anyone can see:

    * VMRESUME would succeed. Its own conditions are here; the checks of VM entry came out well the
      last time, and only fields have been written since whose checks are made anew (`unchanged`).
    * It would load into the processor what the engine's world holds: `Guest.holds` compares all
      that a world is made of. RIP, RSP and RFLAGS go to the engine's registers, and MSRs where
      they are kept. Nothing is injected or blocked, no list of MSRs loaded.
    * Directly after `leave` all that was found for the entry before it still holds, unless the
      handler has written a field whose checks depend on it, or one of the three registers of the
      host that an entry lets through to the guest: then the guest is `warm`.
    * Until its next exit nobody looks: whoever runs the guest does that next, and what emulates an
      instruction asks for `Guest.processor`, which then loads the whole guest-state area. So does
      a quantum that ends without an exit.
    """
    vmx, processor, controls = guest.vmx, guest.unseen_processor, guest.controls
    vmcs = vmx.current
    if vmcs is None or not in_root_ring_0(vmx) or processor.mov_ss_blocking:
        return False
    values, msrs, unchecked = vmcs.values, processor.msrs, vmcs.unchecked
    rip = values[abi.GUEST_RIP]
    warm = (
        vmcs is guest.warm
        and unchecked <= _NEVER_INVALID
        and rip >> 48 in _CANONICAL
        and (processor.cr0, msrs[abi.IA32_EFER], msrs[abi.IA32_KERNEL_GS_BASE]) == guest.host_found
    )
    if not warm and not _may_enter(guest, vmcs):
        return False
    if controls.loads:
        load_by_controls(processor, vmcs)
    msrs[abi.IA32_EFER] = guest.efer
    words = guest.words
    words[RIP] = rip
    if not warm or unchecked:
        words[RSP], words[RFLAGS] = values[abi.GUEST_RSP], values[abi.GUEST_RFLAGS]
    unchecked.clear()
    vmx.mode, vmx.entered, vmx.launching = _NON_ROOT, True, False
    guest.unseen = True
    if vmx.report_passages:
        vmx.observer(VmEntered(processor.number, vmcs.address, "VMRESUME", rip))
    return True


def _may_enter(guest: Guest, vmcs: Vmcs) -> bool:
    """The conditions of `enter`, after anything at all."""
    vmx, processor, values = guest.vmx, guest.unseen_processor, vmcs.values
    if (
        vmcs.controls is not guest.controls
        or not guest.controls.quiet
        or not vmcs.launched
        or vmcs.launch_session != vmx.session
        or not unchanged(vmcs)
        or values[abi.VM_ENTRY_INTR_INFO_FIELD] & abi.INTR_INFO_VALID
        or values[abi.GUEST_INTERRUPTIBILITY_STATE]
        or values[abi.GUEST_ACTIVITY_STATE]
        or values[abi.GUEST_PENDING_DBG_EXCEPTIONS]
    ):
        return False
    cr0 = processor.cr0 & CR0_KEPT | values[abi.GUEST_CR0] & ~CR0_KEPT
    guest.efer = loaded_efer(processor, values, cr0)
    return guest.holds(vmcs, cr0, guest.efer)


def leave(guest: Guest, information: ExitInformation) -> GuestExit:
    """VM exit of a guest that nobody has looked at, and whose `hidden` state is untouched.

    Of the guest-state area RIP, RSP and RFLAGS alone can differ from what the VMCS holds: the rest
    changes in Python only, through `Guest.processor`. The host's state is loaded as ever, because
    the handler before may have changed any of it. The result is the same object each time.
    """
    vmx, processor, words = guest.vmx, guest.unseen_processor, guest.words
    vmcs = vmx.current
    assert vmcs is not None and guest.unseen
    guest.unseen = False
    values, rip, msrs = vmcs.values, words[RIP], processor.msrs
    information.record(vmcs)
    values[abi.GUEST_RSP], values[abi.GUEST_RIP] = words[RSP], rip
    values[abi.GUEST_RFLAGS] = words[RFLAGS]
    if guest.controls.saves:
        save_by_controls(processor, vmcs)
    load_host(processor, vmcs)
    guest.warm = vmcs
    guest.host_found = processor.cr0, msrs[abi.IA32_EFER], msrs[abi.IA32_KERNEL_GS_BASE]
    vmx.mode, vmx.pauses = _ROOT, None
    reason, qualification = information.reason, information.qualification
    if vmx.report_passages:
        number, why = processor.number, information.why
        vmx.observer(VmExited(number, vmcs.address, reason, qualification, rip, why))
    happened = guest.left
    happened.reason, happened.qualification, happened.rip = reason, qualification, rip
    return happened
