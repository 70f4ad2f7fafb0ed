"""The time-stamp counter as a guest reads it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ntsim.abi import vmx_constants as abi

if TYPE_CHECKING:
    from ntsim.hw.vmx.guest.controls import Controls
    from ntsim.hw.vmx.vmcs import Vmcs

_MASK = 0xFFFF_FFFF_FFFF_FFFF
_FRACTION = 48
"""The multiplier is a fixed-point number with so many bits behind the point."""


def guest_tsc(vmcs: Vmcs, controls: Controls, tsc: int) -> int:
    """What RDTSC, RDTSCP and RDMSR of IA32_TIME_STAMP_COUNTER give when the counter is `tsc`.

    Scaling counts only together with offsetting (SDM 3, "Changes to Instruction Behavior in VMX
    Non-Root Operation", RDTSC).
    """
    if not controls.primary & abi.CPU_BASED_USE_TSC_OFFSETTING:
        return tsc
    if controls.secondary & abi.SECONDARY_USE_TSC_SCALING:
        tsc = tsc * vmcs.get(abi.TSC_MULTIPLIER) >> _FRACTION
    return tsc + vmcs.get(abi.TSC_OFFSET) & _MASK
