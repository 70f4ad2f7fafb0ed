"""Power IRPs. Source: WDK PoRequestPowerIrp, IRP_MN_SET_POWER, DEVICE_OBJECT; bug check 0x9F."""

import pytest

from ntsim.errors import BugCheck
from ntsim.wdm import *

S3, D0, D3 = PowerSystemSleeping3, PowerDeviceD0, PowerDeviceD3


class Powered:
    """An IRP_MJ_POWER routine of a power policy owner: a system IRP makes a device IRP."""

    def __init__(self) -> None:
        self.function = None
        self.log: list[tuple] = []

    def __call__(self, DeviceObject, Irp) -> int:
        stack = IoGetCurrentIrpStackLocation(Irp)
        power = stack.Parameters.Power
        kind = "S" if power.Type == SystemPowerState else "D"
        what = "set" if stack.MinorFunction == IRP_MN_SET_POWER else "query"
        state = power.State.DeviceState
        self.log.append((what, f"{kind}{state - 1}", KeGetCurrentIrql()))
        if kind == "S" and what == "set":
            IoMarkIrpPending(Irp)
            wanted = D0 if state == PowerSystemWorking else D3
            PoRequestPowerIrp(
                DeviceObject, IRP_MN_SET_POWER, wanted, self.device_done, Irp, NULL
            )
            return STATUS_PENDING
        if kind == "D" and what == "set":
            PoSetPowerState(DeviceObject, DevicePowerState, power.State)
        IoSkipCurrentIrpStackLocation(Irp)
        return PoCallDriver(self.function.below, Irp)

    def device_done(self, DeviceObject, MinorFunction, PowerState, Context, IoStatus) -> None:
        self.log.append(("done", f"D{PowerState.DeviceState - 1}", IoStatus.Status))
        Irp = cast(Context, PIRP)
        IoSkipCurrentIrpStackLocation(Irp)
        PoCallDriver(self.function.below, Irp)


@pytest.fixture
def powered(plug):
    def make(**options):
        from tests.nt.pnp.conftest import Function

        power = Powered()
        power.function = Function(power=power, **options)
        return power, plug(power.function)

    return make


def test_sleep_asks_then_sets_and_a_device_irp_is_sent_inside(powered) -> None:
    power, made = powered()
    assert made.machine.sleep("S3") == STATUS_SUCCESS
    assert power.log == [
        ("query", "S3", 0), ("set", "S3", 0), ("set", "D3", 0), ("done", "D3", STATUS_SUCCESS)
    ]  # fmt: skip
    power.log.clear()
    made.machine.wake()
    assert power.log == [("set", "S0", 0), ("set", "D0", 0), ("done", "D0", STATUS_SUCCESS)]


def test_without_do_power_pagable_powering_up_comes_at_dispatch_level(powered) -> None:
    power, made = powered(flags=0)
    made.machine.sleep()
    made.machine.wake()
    levels = {state: level for what, state, level in power.log if what == "set"}
    assert levels == {"S3": 0, "D3": 0, "S0": 2, "D0": 2}


def test_a_veto_of_the_query_puts_nobody_to_sleep(plug) -> None:
    from tests.nt.pnp.conftest import Function

    log = []

    def power(DeviceObject, Irp) -> int:
        log.append(IoGetCurrentIrpStackLocation(Irp).MinorFunction)
        Irp.IoStatus.Status = STATUS_DEVICE_BUSY
        IoCompleteRequest(Irp, IO_NO_INCREMENT)
        return STATUS_DEVICE_BUSY

    made = plug(Function(power=power))
    assert made.machine.sleep() == STATUS_DEVICE_BUSY
    assert log == [IRP_MN_QUERY_POWER]


def test_a_power_irp_held_for_ten_minutes_is_0x9f_3(plug) -> None:
    from tests.nt.pnp.conftest import Function

    held = []

    def power(DeviceObject, Irp) -> int:
        held.append(int(Irp))
        IoMarkIrpPending(Irp)
        return STATUS_PENDING

    made = plug(Function(power=power))
    before = made.machine.nt.clock.now
    with pytest.raises(BugCheck) as caught:
        made.device.power("D3")
    crash, nt = caught.value, made.machine.nt
    assert (crash.code, crash.parameters[0]) == (0x9F, 3)
    assert crash.parameters[1] == made.device.pdo
    assert crash.parameters[3] == held[0]
    assert nt.mmu.read(crash.parameters[2], 4) == b"\x00\x80\x01\x00"
    assert 600 <= (nt.clock.now - before) / 10_000_000 < 601


def test_deleting_a_device_that_holds_a_power_irp_is_0x9f_1(plug) -> None:
    from tests.nt.pnp.conftest import Function

    def power(DeviceObject, Irp) -> int:
        IoMarkIrpPending(Irp)
        IoDetachDevice(function.below)
        IoDeleteDevice(DeviceObject)
        return STATUS_PENDING

    function = Function(power=power)
    made = plug(function)
    with pytest.raises(BugCheck) as caught:
        made.device.power("D3")
    assert caught.value.code == 0x9F
    assert caught.value.parameters[:2] == (1, int(function.fdo))


def test_device_irps_of_one_stack_come_one_after_the_other(plug) -> None:
    from tests.nt.pnp.conftest import Function

    held, done = [], []

    def power(DeviceObject, Irp) -> int:
        state = IoGetCurrentIrpStackLocation(Irp).Parameters.Power.State.DeviceState
        held.append((state, Irp))
        IoMarkIrpPending(Irp)
        return STATUS_PENDING

    def finished(DeviceObject, Minor, State, Context, IoStatus) -> None:
        done.append((State.DeviceState, Context))

    def start(DeviceObject, Irp) -> None:
        statuses = [
            PoRequestPowerIrp(DeviceObject, IRP_MN_SET_POWER, state, finished, number, NULL)
            for number, state in enumerate((D3, D0))
        ]
        done.append((statuses, len(held)))
        for _ in range(2):
            _, irp = held.pop()
            irp.IoStatus.Status = STATUS_SUCCESS
            IoCompleteRequest(irp, IO_NO_INCREMENT)

    plug(Function({IRP_MN_START_DEVICE: start}, power=power))
    assert done == [([STATUS_PENDING] * 2, 1), (D3, 0), (D0, 1)]


def test_requested_at_dispatch_level_a_pagable_stack_gets_it_at_passive(plug) -> None:
    from tests.nt.pnp.conftest import Function

    levels, made = [], []

    def power(DeviceObject, Irp) -> int:
        levels.append(KeGetCurrentIrql())
        IoSkipCurrentIrpStackLocation(Irp)
        return PoCallDriver(function.below, Irp)

    def start(DeviceObject, Irp) -> None:
        old = KeRaiseIrqlToDpcLevel()
        made.append(PoRequestPowerIrp(DeviceObject, IRP_MN_SET_POWER, D0, NULL, NULL, NULL))
        made.append(list(levels))
        KeLowerIrql(old)

    function = Function({IRP_MN_START_DEVICE: start}, power=power)
    plug(function).machine.run_until_idle()
    assert made == [STATUS_PENDING, []]
    assert levels == [0]


def test_a_minor_code_that_cannot_be_requested(plug) -> None:
    from tests.nt.pnp.conftest import Function

    got = []

    def start(DeviceObject, Irp) -> None:
        got.append(PoRequestPowerIrp(DeviceObject, IRP_MN_POWER_SEQUENCE, D0, NULL, NULL, NULL))

    plug(Function({IRP_MN_START_DEVICE: start}))
    assert got == [STATUS_INVALID_PARAMETER_2]


def test_po_set_power_state_returns_the_old_state(plug) -> None:
    from tests.nt.pnp.conftest import Function

    got = []

    def start(DeviceObject, Irp) -> None:
        state = POWER_STATE()
        for each in (D0, D3):
            state.DeviceState = each
            got.append(PoSetPowerState(DeviceObject, DevicePowerState, state).DeviceState)

    plug(Function({IRP_MN_START_DEVICE: start}))
    assert got == [PowerDeviceUnspecified, D0]


def test_the_watchdogs_time_can_be_asked_for(plug) -> None:
    from tests.nt.pnp.conftest import Function

    got = []

    def power(DeviceObject, Irp) -> int:
        pdo = cast(function.pdo, PDEVICE_OBJECT)
        got.append(PoQueryWatchdogTime(pdo))
        IoSkipCurrentIrpStackLocation(Irp)
        return PoCallDriver(function.below, Irp)

    function = Function(power=power)
    made = plug(function)
    made.device.power("D3")
    assert got == [(True, 599)]
