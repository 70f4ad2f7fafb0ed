"""ETW providers: registration, and events that are logged and go nowhere else.

No session is running: EtwEventEnabled and EtwProviderEnabled are FALSE, and writing succeeds, as on
a Windows where nobody traces. Source: WDK EtwRegister, EtwWrite, EtwWriteString, EtwUnregister,
EtwActivityIdControl.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ntsim.abi import ntstatus
from ntsim.abi.scalars import BOOLEAN, NTSTATUS, PVOID, UCHAR, ULONG, ULONGLONG
from ntsim.nt.events import TraceWritten
from ntsim.nt.exports import Out, export
from ntsim.nt.pnp.guids import read_guid

if TYPE_CHECKING:
    from ntsim.nt.kernel import Kernel

MOST_DESCRIPTORS = 128
GET_ID, SET_ID, CREATE_ID, GET_SET_ID, CREATE_SET_ID = range(1, 6)
"""EVENT_ACTIVITY_CTRL_*."""


@export(irql="== PASSIVE")
def EtwRegister(
    nt: Kernel,
    ProviderId: PVOID,
    EnableCallback: PVOID,
    CallbackContext: PVOID,
    RegHandle: Out[ULONGLONG],
) -> NTSTATUS:
    """Register a provider; its callback is not called, because no session enables it."""
    guid = read_guid(nt, ProviderId)
    handle = nt.allocate_pool(0x20, "EtwR")
    if not handle:
        return ntstatus.STATUS_NO_MEMORY
    nt.etw_providers[handle] = guid
    RegHandle[0] = handle
    return ntstatus.STATUS_SUCCESS


@export(irql="== PASSIVE")
def EtwRegisterClassicProvider(
    nt: Kernel,
    ProviderId: PVOID,
    Type: ULONG,
    EnableCallback: PVOID,
    CallbackContext: PVOID,
    RegHandle: Out[ULONGLONG],
) -> NTSTATUS:
    """EtwRegister of a provider that WPP's macros trace with. Source: the WDK's WPP templates
    (km-init.tpl)."""
    return EtwRegister(nt, ProviderId, EnableCallback, CallbackContext, RegHandle)


@export(irql="== PASSIVE")
def EtwUnregister(nt: Kernel, RegHandle: ULONGLONG) -> NTSTATUS:
    """The provider is gone; STATUS_INVALID_HANDLE if there is none."""
    if nt.etw_providers.pop(RegHandle, None) is None:
        return ntstatus.STATUS_INVALID_HANDLE
    nt.free_pool(RegHandle)
    return ntstatus.STATUS_SUCCESS


def etw_write(nt: Kernel, handle: int, what: str, count: int = 0) -> int:
    """Log what a provider writes."""
    guid = nt.etw_providers.get(handle)
    if guid is None:
        return ntstatus.STATUS_INVALID_HANDLE
    if count > MOST_DESCRIPTORS:
        return ntstatus.STATUS_INVALID_PARAMETER
    nt.emit_at(TraceWritten, guid, what)
    return ntstatus.STATUS_SUCCESS


def _described(nt: Kernel, descriptor: int) -> str:
    """The ID and level of an EVENT_DESCRIPTOR."""
    data = nt.mmu.read(int(descriptor), 16)
    return f"event {int.from_bytes(data[:2], 'little')}, level {data[4]}"


@export(irql="any")
def EtwWrite(
    nt: Kernel,
    RegHandle: ULONGLONG,
    EventDescriptor: PVOID,
    ActivityId: PVOID,
    UserDataCount: ULONG,
    UserData: PVOID,
) -> NTSTATUS:
    """Write an event. Source: WDK EtwWrite."""
    return etw_write(nt, RegHandle, _described(nt, EventDescriptor), UserDataCount)


@export(irql="any")
def EtwWriteTransfer(
    nt: Kernel,
    RegHandle: ULONGLONG,
    EventDescriptor: PVOID,
    ActivityId: PVOID,
    RelatedActivityId: PVOID,
    UserDataCount: ULONG,
    UserData: PVOID,
) -> NTSTATUS:
    """Write an event that links two activities. Source: WDK EtwWriteTransfer."""
    return etw_write(nt, RegHandle, _described(nt, EventDescriptor), UserDataCount)


@export(irql="any")
def EtwWriteEx(
    nt: Kernel,
    RegHandle: ULONGLONG,
    EventDescriptor: PVOID,
    Filter: ULONGLONG,
    Flags: ULONG,
    ActivityId: PVOID,
    RelatedActivityId: PVOID,
    UserDataCount: ULONG,
    UserData: PVOID,
) -> NTSTATUS:
    """Write an event with a filter. Source: WDK EtwWriteEx."""
    return etw_write(nt, RegHandle, _described(nt, EventDescriptor), UserDataCount)


@export(irql="any")
def EtwWriteString(
    nt: Kernel,
    RegHandle: ULONGLONG,
    Level: UCHAR,
    Keyword: ULONGLONG,
    ActivityId: PVOID,
    String: Any,
) -> NTSTATUS:
    """Write a text. Source: WDK EtwWriteString."""
    return etw_write(nt, RegHandle, f"a string, level {Level}")


@export(irql="any")
def EtwEventEnabled(nt: Kernel, RegHandle: ULONGLONG, EventDescriptor: PVOID) -> BOOLEAN:
    """FALSE: no session is running. Source: WDK EtwEventEnabled."""
    return False


@export(irql="any")
def EtwProviderEnabled(
    nt: Kernel, RegHandle: ULONGLONG, Level: UCHAR, Keyword: ULONGLONG
) -> BOOLEAN:
    """FALSE: no session is running. Source: WDK EtwProviderEnabled."""
    return False
