"""Processors: callbacks when one is added, the node, features and the timer's resolution.

No processor is ever added to the machine, so that a callback is only called for those that exist
(KE_PROCESSOR_CHANGE_ADD_EXISTING), twice each, and never again. Source: WDK
KeRegisterProcessorChangeCallback, KE_PROCESSOR_CHANGE_NOTIFY_CONTEXT, KeGetCurrentNodeNumber,
ExIsProcessorFeaturePresent, ExQueryTimerResolution.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from ntsim.abi.scalars import BOOLEAN, PVOID, SIZE_T, ULONG, USHORT
from ntsim.nt.exports import Out, export

if TYPE_CHECKING:
    from ntsim.nt.kernel import Kernel

ADD_EXISTING = 1
ADD_START, ADD_COMPLETE = 0, 1
FEATURES = 0x274
CLOCK_100NS, FINEST_100NS = 156_250, 5_000


@export(irql="<= APC")
def KeRegisterProcessorChangeCallback(
    nt: Kernel, CallbackFunction: PVOID, CallbackContext: PVOID, Flags: ULONG
) -> PVOID:
    """A handle; NULL if a callback refused an existing processor. Source: WDK."""
    handle = nt.allocate_pool(0x18, "KePc")
    if not handle:
        return 0
    nt.mmu.write(handle, struct.pack("<QQQ", CallbackFunction, CallbackContext, Flags))
    if Flags & ADD_EXISTING and not ki_announce(nt, CallbackFunction, CallbackContext):
        nt.free_pool(handle)
        return 0
    return handle


def ki_announce(nt: Kernel, routine: int, context: int) -> bool:
    """Call a callback for every processor; False if it failed one of the first calls."""
    block = nt.allocate_pool(0x18, "KePc")
    good = True
    for state in (ADD_START, ADD_COMPLETE):
        for processor in nt.processors:
            number = processor.number
            change = struct.pack("<IIiHBB", state, number, 0, number >> 6, number & 63, 0)
            nt.mmu.write(block, change + bytes(8))
            nt.call(routine, context, block, block + 0x10)
            status = int.from_bytes(nt.mmu.read(block + 0x10, 4), "little")
            good = good and (state == ADD_COMPLETE or status >> 30 != 3)
        if not good:
            break
    nt.free_pool(block)
    return good


@export(irql="<= APC")
def KeDeregisterProcessorChangeCallback(nt: Kernel, CallbackHandle: PVOID) -> None:
    """Undo it. Source: WDK KeDeregisterProcessorChangeCallback."""
    nt.free_pool(CallbackHandle)


@export(irql="any")
def KeGetCurrentNodeNumber(nt: Kernel) -> USHORT:
    """The current processor's NUMA node: there is one. Source: WDK KeGetCurrentNodeNumber."""
    return 0


@export(irql="== PASSIVE")
def ExIsProcessorFeaturePresent(nt: Kernel, ProcessorFeature: ULONG) -> BOOLEAN:
    """What KUSER_SHARED_DATA.ProcessorFeatures says; FALSE past its end. Source: WDK."""
    if ProcessorFeature >= 64:
        return False
    return bool(nt.mmu.read(int(nt.ke.shared_data) + FEATURES + ProcessorFeature, 1)[0])


@export(irql="any")
def ExQueryTimerResolution(
    nt: Kernel, MaximumTime: Out[ULONG], MinimumTime: Out[ULONG], CurrentTime: Out[ULONG]
) -> None:
    """The clock's longest, shortest and present period in 100 ns units. Source: WDK."""
    MaximumTime[0], MinimumTime[0], CurrentTime[0] = CLOCK_100NS, FINEST_100NS, CLOCK_100NS


@export(irql="<= APC")
def ExSetTimerResolution(nt: Kernel, DesiredTime: ULONG, SetResolution: BOOLEAN) -> ULONG:
    """The clock's period in 100 ns units after the request: 156250.

    This machine's clock keeps that period, where Windows' would follow the finest request: timers
    expire no sooner for it. Source: WDK ExSetTimerResolution.
    """
    return CLOCK_100NS


@export(irql="any")
def RtlPrefetchMemoryNonTemporal(nt: Kernel, Source: PVOID, Length: SIZE_T) -> None:
    """A hint to the cache, which has no effect that software sees. Source: WDK."""
