"""The VMX-preemption timer: a VM exit when the time-stamp counter has gone on long enough.

It counts down by 1 whenever bit IA32_VMX_MISC[4:0] of the TSC changes because the TSC counts up, so
what counts is how many such changes lie between VM entry and now, not how long ago the entry was.
Source: SDM 3, "VMX-Preemption Timer"; kvm-unit-tests, x86/vmx_tests.c (vmx_preemption_timer_*).
"""

from ntsim.abi import vmx_constants as abi
from ntsim.hw.vmx.capabilities import Misc
from ntsim.hw.vmx.protocols import VmxProcessor
from ntsim.hw.vmx.vmcs import Vmcs


def deadline(processor: VmxProcessor, vmcs: Vmcs, misc: Misc) -> int | None:
    """The TSC at which the timer that a VM entry starts now has expired; None without one."""
    if not vmcs.values[abi.PIN_BASED_VM_EXEC_CONTROL] & abi.PIN_BASED_ACTIVATE_VMX_PREEMPTION_TIMER:
        return None
    shift = misc.preemption_timer_shift
    tsc = processor.read_msr(abi.IA32_TIME_STAMP_COUNTER)
    return (tsc >> shift) + vmcs.get(abi.GUEST_PREEMPTION_TIMER) << shift


def expired(processor: VmxProcessor, deadline: int) -> bool:
    """Whether the timer is at 0."""
    return processor.read_msr(abi.IA32_TIME_STAMP_COUNTER) >= deadline


def save(processor: VmxProcessor, vmcs: Vmcs, misc: Misc, deadline: int) -> None:
    """A VM exit stores what is left where its controls say so."""
    if not vmcs.get(abi.VM_EXIT_CONTROLS) & abi.VM_EXIT_SAVE_VMX_PREEMPTION_TIMER_VALUE:
        return
    shift = misc.preemption_timer_shift
    tsc = processor.read_msr(abi.IA32_TIME_STAMP_COUNTER)
    vmcs.put(abi.GUEST_PREEMPTION_TIMER, max(0, (deadline >> shift) - (tsc >> shift)))


def instructions_left(processor: VmxProcessor, deadline: int, most: int) -> int:
    """How many instructions the guest executes before the timer expires: 1 to `most`."""
    first = _tsc_after(processor, 0)
    tick = _tsc_after(processor, 1) - first
    if tick <= 0:
        return most  # a processor whose time stands still
    left = max(1, (deadline - first) // (tick + 1))
    while left < most and _tsc_after(processor, left) < deadline:
        left += 1
    return min(left, most)


def _tsc_after(processor: VmxProcessor, instructions: int) -> int:
    """The TSC when so many more have executed: each uses up one of the processor's budget."""
    processor.budget -= instructions
    tsc = processor.read_msr(abi.IA32_TIME_STAMP_COUNTER)
    processor.budget += instructions
    return tsc
