"""Power settings: a driver hears their value at once, and every change.

A callback that comes back at another level is 0xA0/0x900. The values are those of a desktop PC on
mains with its display on. Source: WDK PoRegisterPowerSettingCallback, "Power Setting GUIDs"; bug
check 0xA0 reference.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ntsim.abi import bugcodes, ntstatus
from ntsim.abi.scalars import NTSTATUS, PVOID
from ntsim.nt.exports import OutOpt, export
from ntsim.nt.pnp.guids import guid_bytes, read_guid
from ntsim.nt.po.state import po

if TYPE_CHECKING:
    from ntsim.abi.io import PDEVICE_OBJECT
    from ntsim.nt.kernel import Kernel

CALLBACK_CHANGED_IRQL = 0x900
SETTINGS = {
    "{5d3e9a59-e9d5-4b00-a6bd-ff34ff516548}": 0,  # GUID_ACDC_POWER_SOURCE: AC
    "{a7ad8041-b45a-4cae-87a3-eecbb468a9e1}": 100,  # GUID_BATTERY_PERCENTAGE_REMAINING
    "{02731015-4510-4526-99e6-e5a17ebd1aea}": 1,  # GUID_MONITOR_POWER_ON
    "{6fe69556-704a-47a0-8f24-c28d936fda47}": 1,  # GUID_CONSOLE_DISPLAY_STATE
    "{ba3e0f4d-b817-4094-a2d1-d56379e6a0f3}": 1,  # GUID_LIDSWITCH_STATE_CHANGE: open
    "{98a7f580-01f7-48aa-9c0f-44352c29e5c0}": 0,  # GUID_SYSTEM_AWAYMODE
}


@dataclass(eq=False, slots=True)
class SettingCallback:
    """A registration; `handle` is what the driver holds."""

    handle: int
    setting: str
    callback: int
    context: int


def pop_tell_setting(nt: Kernel, registration: SettingCallback, value: int) -> None:
    """Call a callback with the setting's value, a ULONG."""
    block = nt.allocate_pool(0x18, "PoSe")
    nt.mmu.write(block, guid_bytes(registration.setting) + value.to_bytes(8, "little"))
    before = nt.il.current.cr8
    nt.call(registration.callback, block, block + 0x10, 4, registration.context)
    after = nt.il.current.cr8
    if after != before:
        code = bugcodes.INTERNAL_POWER_ERROR
        nt.bugcheck(code, CALLBACK_CHANGED_IRQL, registration.callback, before, after)
    nt.free_pool(block)


def po_set_setting(nt: Kernel, setting: str, value: int) -> None:
    """A setting changes: tell everybody who asked, in a system thread."""
    manager = po(nt)
    manager.values[setting] = value
    for registration in list(manager.settings):
        if registration.setting == setting:
            pop_tell_setting(nt, registration, value)


@export(irql="<= APC")
def PoRegisterPowerSettingCallback(
    nt: Kernel,
    DeviceObject: PDEVICE_OBJECT,
    SettingGuid: PVOID,
    Callback: PVOID,
    Context: PVOID,
    Handle: OutOpt[PVOID],
) -> NTSTATUS:
    """Have Callback(SettingGuid, Value, ValueLength, Context) called now and at each change.

    A setting that the machine does not have is never told. Source: WDK.
    """
    manager = po(nt)
    if not Callback:
        return ntstatus.STATUS_INVALID_PARAMETER
    made = SettingCallback(
        nt.allocate_pool(0x10, "PoSc"), read_guid(nt, SettingGuid), Callback, Context
    )
    manager.settings.append(made)
    if Handle:
        Handle[0] = made.handle
    value = manager.values.get(made.setting, SETTINGS.get(made.setting))
    if value is not None:
        pop_tell_setting(nt, made, value)
    return ntstatus.STATUS_SUCCESS


@export(irql="<= APC")
def PoUnregisterPowerSettingCallback(nt: Kernel, Handle: PVOID) -> NTSTATUS:
    """No more calls. Source: WDK PoUnregisterPowerSettingCallback."""
    found = po(nt).settings
    for registration in found:
        if registration.handle == Handle:
            found.remove(registration)
            nt.free_pool(registration.handle)
            return ntstatus.STATUS_SUCCESS
    return ntstatus.STATUS_INVALID_PARAMETER
