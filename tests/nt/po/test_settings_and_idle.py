"""Power settings and idle detection. Source: WDK PoRegisterPowerSettingCallback,
PoRegisterDeviceForIdleDetection, PoRegisterSystemState; bug check 0xA0 parameter 1 = 0x900."""

import pytest

from ntsim.errors import ConfigurationError
from ntsim.wdm import *
from tests.nt.pnp.conftest import Function

POWER_SOURCE = "5d3e9a59-e9d5-4b00-a6bd-ff34ff516548"
GUID_ACDC = (0x5D3E9A59, 0xE9D5, 0x4B00, 0xA6, 0xBD, 0xFF, 0x34, 0xFF, 0x51, 0x65, 0x48)


def test_a_setting_is_told_at_once_and_at_each_change(run_driver) -> None:
    told, handles = [], []

    def changed(SettingGuid, Value, ValueLength, Context) -> int:
        same = IsEqualGUID(SettingGuid, DEFINE_GUID(*GUID_ACDC))
        told.append((same, read_bytes(Value, ValueLength), Context, KeGetCurrentIrql()))
        return STATUS_SUCCESS

    def body() -> int:
        handle = ExAllocatePoolWithTag(NonPagedPool, 8, 0x74736554)
        status = PoRegisterPowerSettingCallback(
            NULL, DEFINE_GUID(*GUID_ACDC), changed, 5, cast(handle, PPVOID)
        )
        handles.append(int.from_bytes(read_bytes(handle, 8), "little"))
        return status

    done = run_driver(body)
    assert done.value == STATUS_SUCCESS
    done.machine.set_power_setting(POWER_SOURCE, 1)
    expected = [(True, b"\0\0\0\0", 5, 0), (True, b"\1\0\0\0", 5, 0)]
    assert told == expected

    def DriverEntry(DriverObject, RegistryPath) -> int:
        assert PoUnregisterPowerSettingCallback(handles[0]) == STATUS_SUCCESS
        return PoUnregisterPowerSettingCallback(handles[0])

    with pytest.raises(ntsim_error()):
        done.machine.load_driver(DriverEntry, name="second.sys")
    done.machine.set_power_setting(POWER_SOURCE, 0)
    assert told == expected
    with pytest.raises(ConfigurationError, match="a GUID is needed"):
        done.machine.set_power_setting("mains", 1)


def ntsim_error():
    from ntsim.errors import DriverLoadError

    return DriverLoadError


def test_a_setting_callback_that_raises_the_level_is_0xa0_900(bugcheck_of) -> None:
    def body() -> None:
        PoRegisterPowerSettingCallback(
            NULL, DEFINE_GUID(*GUID_ACDC), lambda *_: KeRaiseIrqlToDpcLevel(), NULL, NULL
        )

    crash = bugcheck_of(body)
    assert crash.code == 0xA0
    assert (crash.parameters[0], *crash.parameters[2:]) == (0x900, 0, 2)


def test_an_idle_device_is_powered_down_after_its_time(plug) -> None:
    sent, counters = [], []

    def power(DeviceObject, Irp) -> int:
        state = IoGetCurrentIrpStackLocation(Irp).Parameters.Power.State.DeviceState
        sent.append((KeQueryInterruptTime() // 10_000_000, state))
        PoRegisterDeviceForIdleDetection(DeviceObject, 0, 0, PowerDeviceD3)
        IoSkipCurrentIrpStackLocation(Irp)
        return PoCallDriver(function.below, Irp)

    def start(DeviceObject, Irp) -> None:
        counters.append(PoRegisterDeviceForIdleDetection(DeviceObject, 3, 5, PowerDeviceD3))

    function = Function({IRP_MN_START_DEVICE: start}, power=power)
    made = plug(function)
    made.machine.run_for(30_000_000)

    def DriverEntry(DriverObject, RegistryPath) -> int:
        PoSetDeviceBusyEx(counters[0])
        return STATUS_SUCCESS

    made.machine.load_driver(DriverEntry, name="busy.sys")
    made.machine.run_until_idle()
    assert len(sent) == 1
    seconds, state = sent[0]
    assert state == PowerDeviceD3
    assert 8 <= seconds <= 9


def test_a_state_handle_is_kept_until_it_is_unregistered(value_of) -> None:
    def body() -> list[bool]:
        handle = PoRegisterSystemState(NULL, 1)
        same = PoRegisterSystemState(handle, 3) == handle
        PoUnregisterSystemState(handle)
        return [bool(handle), same]

    assert value_of(body) == [True, True]
