"""Calls with more kernel stack: KeExpandKernelStackAndCallout.

The callout runs on the caller's stack, whose depth the model does not limit. Source: WDK; Wine
ntoskrnl tests test_stack_callout.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ntsim.abi import ntstatus
from ntsim.abi.scalars import BOOLEAN, NTSTATUS, PEXPAND_STACK_CALLOUT, PVOID, SIZE_T
from ntsim.nt.exports import export

if TYPE_CHECKING:
    from ntsim.nt.kernel import Kernel

MAXIMUM_EXPANSION_SIZE = 0x1_2000 - 0x1000
"""Bytes: a large kernel stack less a page (wdm.h, amd64)."""


@export(irql="<= APC")
def KeExpandKernelStackAndCallout(
    nt: Kernel, Callout: PEXPAND_STACK_CALLOUT, Parameter: PVOID, Size: SIZE_T
) -> NTSTATUS:
    """Call Callout with Size bytes of stack; STATUS_INVALID_PARAMETER_3 for more than there can be.

    Source: WDK KeExpandKernelStackAndCallout.
    """
    if Size > MAXIMUM_EXPANSION_SIZE:
        return ntstatus.STATUS_INVALID_PARAMETER_3
    nt.call(Callout, Parameter)
    return ntstatus.STATUS_SUCCESS


@export(irql="<= DISPATCH")
def KeExpandKernelStackAndCalloutEx(
    nt: Kernel,
    Callout: PEXPAND_STACK_CALLOUT,
    Parameter: PVOID,
    Size: SIZE_T,
    Wait: BOOLEAN,
    Context: PVOID,
) -> NTSTATUS:
    """The same; Wait says whether to wait for memory, which is never short here.

    Context must be NULL, else STATUS_INVALID_PARAMETER_5. Source: WDK.
    """
    if Context:
        return ntstatus.STATUS_INVALID_PARAMETER_5
    return KeExpandKernelStackAndCallout(nt, Callout, Parameter, Size)
