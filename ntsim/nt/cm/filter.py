"""Registering registry callbacks: CmRegisterCallbackEx and its companions.

Source: WDK CmRegisterCallback, CmRegisterCallbackEx, CmUnRegisterCallback,
CmSetCallbackObjectContext, CmCallbackGetKeyObjectIDEx, CmGetCallbackVersion.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ntsim.abi import ntstatus
from ntsim.abi.rtl import UNICODE_STRING
from ntsim.abi.scalars import NTSTATUS, PVOID, ULONG, ULONG_PTR
from ntsim.nt.cm.callbacks import Filter, cmp_cleanup
from ntsim.nt.cm.registry import Key
from ntsim.nt.exports import OutOpt, export
from ntsim.nt.ob.callbacks import altitude_value
from ntsim.nt.ob.objects import set_unicode
from ntsim.nt.rtl.text import read_unicode

if TYPE_CHECKING:
    from ntsim.abi.rtl import LARGE_INTEGER, PLARGE_INTEGER, PUNICODE_STRING
    from ntsim.nt.kernel import Kernel

VERSION = (1, 1)


def cmp_register(nt: Kernel, altitude: str, routine: int, context: int) -> int:
    """Insert a filter among the others by altitude; its cookie."""
    nt.cm.last_cookie += 1
    made = Filter(nt.ke.boot_time + nt.cm.last_cookie, altitude, routine, context)
    nt.cm.filters.append(made)
    nt.cm.filters.sort(key=lambda each: altitude_value(each.altitude), reverse=True)
    return made.cookie


@export(irql="<= APC")
def CmRegisterCallback(
    nt: Kernel, Function: PVOID, Context: PVOID, Cookie: PLARGE_INTEGER
) -> NTSTATUS:
    """Be called at registry operations, below everybody with an altitude. Source: WDK."""
    Cookie.QuadPart = cmp_register(nt, "", Function, Context)
    return ntstatus.STATUS_SUCCESS


@export(irql="<= APC")
def CmRegisterCallbackEx(
    nt: Kernel,
    Function: PVOID,
    Altitude: PUNICODE_STRING,
    Driver: PVOID,
    Context: PVOID,
    Cookie: PLARGE_INTEGER,
    Reserved: PVOID,
) -> NTSTATUS:
    """Be called at registry operations, at an altitude that nobody else may have.

    An altitude that is taken is STATUS_FLT_INSTANCE_ALTITUDE_COLLISION. Source: WDK.
    """
    altitude = read_unicode(nt.mmu, Altitude)
    if any(each.altitude == altitude for each in nt.cm.filters):
        return ntstatus.STATUS_FLT_INSTANCE_ALTITUDE_COLLISION
    Cookie.QuadPart = cmp_register(nt, altitude, Function, Context)
    return ntstatus.STATUS_SUCCESS


@export(irql="<= APC")
def CmUnRegisterCallback(nt: Kernel, Cookie: LARGE_INTEGER) -> NTSTATUS:
    """Not any more; contexts of open keys are cleaned up first. STATUS_INVALID_PARAMETER: no such.

    Source: WDK CmUnRegisterCallback.
    """
    cookie = nt.quad_part(Cookie)
    found = next((each for each in nt.cm.filters if each.cookie == cookie), None)
    if found is None:
        return ntstatus.STATUS_INVALID_PARAMETER
    for (body, owner), context in sorted(nt.cm.contexts.items()):
        if owner == cookie:
            del nt.cm.contexts[body, owner]
            cmp_cleanup(nt, found, body, context)
    nt.cm.filters.remove(found)
    return ntstatus.STATUS_SUCCESS


@export(irql="<= APC")
def CmGetCallbackVersion(nt: Kernel, Major: OutOpt[ULONG], Minor: OutOpt[ULONG]) -> None:
    """1.1, Windows' version of registry filtering. Source: WDK CmGetCallbackVersion."""
    for out, value in ((Major, VERSION[0]), (Minor, VERSION[1])):
        if out:
            out[0] = value


@export(irql="<= APC")
def CmSetCallbackObjectContext(
    nt: Kernel,
    Object: PVOID,
    Cookie: PLARGE_INTEGER,
    NewContext: PVOID,
    OldContext: OutOpt[PVOID],
) -> NTSTATUS:
    """Keep something with an open key, until RegNtCallbackObjectContextCleanup. Source: WDK."""
    place = (Object, Cookie.QuadPart)
    if OldContext:
        OldContext[0] = nt.cm.contexts.get(place, 0)
    nt.cm.contexts[place] = NewContext
    return ntstatus.STATUS_SUCCESS


@export(irql="<= APC")
def CmCallbackGetKeyObjectIDEx(
    nt: Kernel,
    Cookie: PLARGE_INTEGER,
    Object: PVOID,
    ObjectID: OutOpt[ULONG_PTR],
    ObjectName: OutOpt[PVOID],
    Flags: ULONG,
) -> NTSTATUS:
    """A key's number and its full path, a UNICODE_STRING for CmCallbackReleaseKeyObjectIDEx.

    Source: WDK CmCallbackGetKeyObjectIDEx.
    """
    key = nt.ob.bodies.get(Object)
    if not isinstance(key, Key):
        return ntstatus.STATUS_INVALID_PARAMETER
    if ObjectID:
        ObjectID[0] = Object
    if ObjectName:
        data = key.path.encode("utf-16-le")
        block = nt.allocate_pool(UNICODE_STRING.size + len(data), "CmNm")
        if not block:
            return ntstatus.STATUS_INSUFFICIENT_RESOURCES
        nt.mmu.write(block + UNICODE_STRING.size, data)
        name = UNICODE_STRING.at(nt.mmu, block)
        set_unicode(name, block + UNICODE_STRING.size, len(data))
        ObjectName[0] = block
    return ntstatus.STATUS_SUCCESS


@export(irql="<= APC")
def CmCallbackReleaseKeyObjectIDEx(nt: Kernel, ObjectName: PUNICODE_STRING) -> None:
    """Free a path of CmCallbackGetKeyObjectIDEx. Source: WDK CmCallbackReleaseKeyObjectIDEx."""
    nt.free_pool(int(ObjectName))
