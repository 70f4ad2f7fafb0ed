"""Extended processor state: what drivers save before they use AVX.

The modelled processors have neither XSAVE nor AVX (CPUID says so, and KUSER_SHARED_DATA.XState is
zero), so no extended feature is enabled. What can be saved is the legacy state, SSE: the XMM
registers and MXCSR of compiled code that asks for it. A saved state belongs to its thread and to
the level it was saved at; the states of a thread are a chain from KTHREAD.XStateSave.
Source: WDK KeSaveExtendedProcessorState, KeRestoreExtendedProcessorState,
RtlGetEnabledExtendedFeatures.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ntsim.abi import ntstatus
from ntsim.abi.scalars import NTSTATUS, ULONG64
from ntsim.errors import UnmodelledRoutine
from ntsim.nt.exports import export

if TYPE_CHECKING:
    from ntsim.abi.ke import PXSTATE_SAVE
    from ntsim.nt.kernel import Kernel

LEGACY_FLOATING_POINT, LEGACY_SSE = 1, 2
ENABLED = 0
"""XSTATE_MASK_XXX of what the system has enabled: XSAVE and XRSTOR are not there."""

AREA_SIZE = 512
"""XSAVE_FORMAT: the legacy region, as FXSAVE stores it."""


@export(irql="== PASSIVE")
def RtlGetEnabledExtendedFeatures(nt: Kernel, FeatureMask: ULONG64) -> ULONG64:
    """Which of these features are enabled: none, as on every system without XSAVE."""
    return FeatureMask & ENABLED


@export(irql="<= DISPATCH")
def KeSaveExtendedProcessorState(
    nt: Kernel, Mask: ULONG64, XStateSave: PXSTATE_SAVE
) -> NTSTATUS:
    """Save the state of the features of the mask; those that are not enabled are not saved."""
    area, thread = 0, nt.thread
    mask = Mask & (ENABLED | LEGACY_SSE)
    if mask:
        area = nt.allocate_pool(AREA_SIZE, "XSav")
        if not area:
            return ntstatus.STATUS_INSUFFICIENT_RESOURCES
        nt.mmu.write(area, nt.host.vector_registers())
    v = XStateSave._v
    v.Prev, v.Thread, v.Level = thread.v.XStateSave, thread.va, nt.il.current.cr8
    context = XStateSave.XStateContext
    context.Mask, context.Length = mask, AREA_SIZE if mask else 0
    context.Area = context.Buffer = area
    thread.v.XStateSave = int(XStateSave)
    return ntstatus.STATUS_SUCCESS


@export(irql="<= DISPATCH")
def KeRestoreExtendedProcessorState(nt: Kernel, XStateSave: PXSTATE_SAVE) -> None:
    """Load what was saved; another thread, level or order ends the run.

    Windows stops with 0x131 then, whose parameters are not documented.
    """
    thread, v = nt.thread, XStateSave._v
    if (v.Thread, v.Level) != (thread.va, nt.il.current.cr8):
        _wrong(nt, "in another thread or at another IRQL than the state was saved")
    if thread.v.XStateSave != int(XStateSave):
        _wrong(nt, "of a state that is not the one that the thread saved last")
    thread.v.XStateSave = v.Prev
    area = int(XStateSave.XStateContext.Area)
    if area:
        nt.host.load_vector_registers(nt.mmu.read(area, AREA_SIZE))
        nt.free_pool(area)


def _wrong(nt: Kernel, how: str) -> None:
    why = f"{how}: Windows stops with INVALID_EXTENDED_PROCESSOR_STATE (0x131)"
    nt.fail(UnmodelledRoutine("KeRestoreExtendedProcessorState", why))
