"""Device timers. Source: WDK IoInitializeTimer, IoStartTimer, IoStopTimer."""

from ntsim.wdm import *


def pause(milliseconds: int) -> None:
    interval = LARGE_INTEGER()
    interval.QuadPart = -milliseconds * 10_000
    KeDelayExecutionThread(KernelMode, FALSE, interval)


def new_device(driver):
    return IoCreateDevice(driver, 0, NULL, FILE_DEVICE_UNKNOWN, 0, FALSE)[1]


def test_a_started_timer_calls_its_routine_every_second(value_of) -> None:
    def body(DriverObject) -> list:
        device, calls = new_device(DriverObject), []

        def routine(DeviceObject, Context) -> None:
            calls.append((int(DeviceObject), int(Context), KeGetCurrentIrql()))

        status = IoInitializeTimer(device, routine, 5)
        pause(1500)
        before = len(calls)
        IoStartTimer(device)
        pause(3500)
        IoStopTimer(device)
        count = len(calls)
        pause(2500)
        right = set(calls) == {(int(device), 5, DISPATCH_LEVEL)}
        return [status, before, count, len(calls), right, device.Timer.Type]

    assert value_of(body) == [0, 0, 3, 3, True, 9]


def test_each_device_has_its_own_and_initializing_again_changes_the_routine(value_of) -> None:
    def body(DriverObject) -> list:
        one, two, calls = new_device(DriverObject), new_device(DriverObject), []
        IoInitializeTimer(one, lambda d, c: calls.append("old"), NULL)
        IoInitializeTimer(one, lambda d, c: calls.append("one"), NULL)
        IoInitializeTimer(two, lambda d, c: calls.append("two"), NULL)
        IoStartTimer(two)
        pause(1500)
        IoStartTimer(one)
        pause(1000)
        return calls

    assert value_of(body) == ["two", "one", "two"]


def test_deleting_a_device_ends_its_timer(value_of) -> None:
    def body(DriverObject) -> list:
        device, calls = new_device(DriverObject), []
        IoInitializeTimer(device, lambda d, c: calls.append(1), NULL)
        IoStartTimer(device)
        IoDeleteDevice(device)
        pause(2500)
        return calls

    assert value_of(body) == []


def test_starting_a_timer_that_was_never_initialized_faults(bugcheck_of) -> None:
    stop = bugcheck_of(lambda DriverObject, r: IoStartTimer(new_device(DriverObject)))
    assert stop.code in (0x7E, 0x50)
