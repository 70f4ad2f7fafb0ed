"""RtlAssert: what a failed ASSERT of a driver built with DBG calls.

Source: WDK ASSERT; ReactOS lib/rtl/assert.c for the text.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ntsim.abi import ntstatus
from ntsim.abi.scalars import PSTR, PVOID, ULONG
from ntsim.nt.exports import export
from ntsim.nt.ki.fault import ki_raise
from ntsim.nt.rtl.text import read_narrow

if TYPE_CHECKING:
    from ntsim.nt.kernel import Kernel

BREAKPOINT_PROMPT = 2


@export(irql="any")
def RtlAssert(
    nt: Kernel, VoidFailedAssertion: PVOID, VoidFileName: PVOID, LineNumber: ULONG,
    MutableMessage: PSTR,
) -> None:  # fmt: skip
    """Print the assertion and ask the debugger what to do: there is none, so STATUS_BREAKPOINT.

    Nobody handles that unless the driver does. Source: WDK ASSERT.
    """
    message = read_narrow(nt.mmu, int(MutableMessage)) if MutableMessage else ""
    assertion = read_narrow(nt.mmu, VoidFailedAssertion)
    file = read_narrow(nt.mmu, VoidFileName)
    nt.kd.show(f"\n*** Assertion failed: {message}{assertion}")
    nt.kd.show(f"***   Source File: {file}, line {LineNumber}\n")
    reason = f"RtlAssert without a debugger: {assertion}"
    ki_raise(nt, ntstatus.STATUS_BREAKPOINT, (BREAKPOINT_PROMPT,), reason)
