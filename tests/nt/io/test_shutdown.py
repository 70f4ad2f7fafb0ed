"""Shutdown notification.

Source: WDK IoRegisterShutdownNotification, IoRegisterLastChanceShutdownNotification,
IRP_MJ_SHUTDOWN.
"""

import pytest

from ntsim.errors import ConfigurationError
from ntsim.wdm import *


def driver(heard: list, arrange):
    """A DriverEntry with devices A, B and C, whose shutdown requests are heard by letter."""

    def DriverEntry(DriverObject, RegistryPath) -> int:
        names, devices = {}, []

        def shutdown(DeviceObject, Irp) -> int:
            heard.append((names[int(DeviceObject)], KeGetCurrentIrql()))
            Irp.IoStatus.Status = STATUS_SUCCESS
            IoCompleteRequest(Irp, IO_NO_INCREMENT)
            return STATUS_SUCCESS

        DriverObject.MajorFunction[IRP_MJ_SHUTDOWN] = shutdown
        for letter in "ABC":
            name = UNICODE_STRING(f"\\Device\\{letter}")
            _, made = IoCreateDevice(DriverObject, 0, name, FILE_DEVICE_UNKNOWN, 0, FALSE)
            made.Flags &= ~DO_DEVICE_INITIALIZING
            names[int(made)] = letter
            devices.append(made)
        arrange(*devices)
        return STATUS_SUCCESS

    return DriverEntry


def heard_after(ntsim_machine, arrange) -> list:
    heard: list = []
    machine = ntsim_machine()
    machine.load_driver(driver(heard, arrange), name="drv.sys")
    assert heard == []
    machine.shut_down()
    return heard


def test_the_last_registered_hears_first_and_the_last_chance_comes_last(ntsim_machine) -> None:
    def arrange(a, b, c) -> None:
        assert IoRegisterLastChanceShutdownNotification(a) == STATUS_SUCCESS
        assert IoRegisterShutdownNotification(b) == STATUS_SUCCESS
        assert IoRegisterShutdownNotification(c) == STATUS_SUCCESS
        assert c.Flags & DO_SHUTDOWN_REGISTERED

    assert heard_after(ntsim_machine, arrange) == [("C", 0), ("B", 0), ("A", 0)]


def test_who_is_not_registered_any_more_hears_nothing(ntsim_machine) -> None:
    def arrange(a, b, c) -> None:
        for device in (a, b, c):
            IoRegisterShutdownNotification(device)
        IoUnregisterShutdownNotification(a)
        IoDeleteDevice(b)
        assert not a.Flags & DO_SHUTDOWN_REGISTERED

    assert heard_after(ntsim_machine, arrange) == [("C", 0)]


def test_a_pended_shutdown_is_waited_for(ntsim_machine) -> None:
    heard: list = []

    def arrange(a, b, c) -> None:
        item = cast(ExAllocatePoolZero(NonPagedPool, WORK_QUEUE_ITEM.size, 1), WORK_QUEUE_ITEM)

        def pends(DeviceObject, Irp) -> int:
            def later(Context) -> None:
                heard.append("completed")
                Irp.IoStatus.Status = STATUS_SUCCESS
                IoCompleteRequest(Irp, IO_NO_INCREMENT)

            IoMarkIrpPending(Irp)
            heard.append("pended")
            ExInitializeWorkItem(item, later, NULL)
            ExQueueWorkItem(item, DelayedWorkQueue)
            return STATUS_PENDING

        a.DriverObject.MajorFunction[IRP_MJ_SHUTDOWN] = pends
        IoRegisterShutdownNotification(a)

    machine = ntsim_machine(processors=1)
    machine.load_driver(driver([], arrange), name="drv.sys")
    machine.shut_down()
    assert heard == ["pended", "completed"]


def test_nothing_runs_on_a_machine_that_is_shut_down(ntsim_machine) -> None:
    machine = ntsim_machine()
    machine.shut_down()
    with pytest.raises(ConfigurationError, match="shut down"):
        machine.run_for(1)
