"""PAUSE-loop exiting: a guest that spins is left.

Source: SDM 3, "Changes to Instruction Behavior in VMX Non-Root Operation", PAUSE; fields PLE_Gap
and PLE_Window, in ticks of a counter as fast as the time-stamp counter.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ntsim.abi import vmx_constants as abi

if TYPE_CHECKING:
    from ntsim.hw.vmx.guest.controls import Controls
    from ntsim.hw.vmx.state import VmxState


def ends(state: VmxState, controls: Controls, cpl: int) -> bool:
    """Whether PAUSE, executed now, exits because it is in a loop that has lasted too long.

    An execution that comes more than PLE_Gap after the one before, or is the first since VM entry,
    begins a loop; one more than PLE_Window behind the first of its loop exits.
    """
    if not controls.secondary & abi.SECONDARY_PAUSE_LOOP_EXITING or cpl:
        return False
    vmcs, processor = state.current, state.processor
    assert vmcs is not None
    now = processor.read_msr(abi.IA32_TIME_STAMP_COUNTER)
    known, state.pauses = state.pauses, (now, now)
    if known is None:
        return False
    first, last = known
    if now - last > vmcs.get(abi.PLE_GAP):
        return False
    state.pauses = first, now
    return now - first > vmcs.get(abi.PLE_WINDOW)
