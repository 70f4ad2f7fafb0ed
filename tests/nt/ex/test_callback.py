"""Callback objects. Source: WDK "Callback Objects", ExCreateCallback, ExRegisterCallback."""

import pytest

import ntsim
from ntsim import win32
from ntsim.wdm import *

OBJ_CASE = 0x40


def create(name: str | None, make: int = TRUE, multiple: int = TRUE):
    attributes = OBJECT_ATTRIBUTES()
    text = UNICODE_STRING(name) if name else NULL
    InitializeObjectAttributes(attributes, text, OBJ_CASE, NULL, NULL)
    return ExCreateCallback(attributes, make, multiple)


def start(routine, context=0) -> None:
    _, handle = PsCreateSystemThread(0, NULL, NULL, NULL, routine, context)
    ZwClose(handle)


def pause(milliseconds: int = 1) -> None:
    interval = LARGE_INTEGER()
    interval.QuadPart = -milliseconds * 10_000
    KeDelayExecutionThread(KernelMode, FALSE, interval)


def test_routines_are_called_in_order_with_context_and_arguments(value_of) -> None:
    def body() -> list:
        status, callback = create("\\Callback\\Mine")
        calls = []

        def routine(Context, Argument1, Argument2) -> None:
            calls.append((Context, Argument1, Argument2, KeGetCurrentIrql()))

        first = ExRegisterCallback(callback, routine, 1)
        second = ExRegisterCallback(callback, routine, 2)
        old = KeRaiseIrql(DISPATCH_LEVEL)
        ExNotifyCallback(callback, 7, 8)
        KeLowerIrql(old)
        ExUnregisterCallback(first)
        ExNotifyCallback(callback, 9, 0)
        ExUnregisterCallback(second)
        ExNotifyCallback(callback, 0, 0)
        return [status, calls]

    assert value_of(body) == [0, [(1, 7, 8, 2), (2, 7, 8, 2), (2, 9, 0, 0)]]


def test_a_driver_makes_one_in_an_apps_thread(ntsim_machine) -> None:
    """The attributes lie on the kernel stack. Source: ReactOS kmtests ExCallback.c."""
    machine, found = ntsim_machine(), []

    def DriverEntry(DriverObject, RegistryPath) -> int:
        def control(DeviceObject, Irp) -> int:
            found.append(create("\\Callback\\Mine")[0])
            Irp.IoStatus.Status = STATUS_SUCCESS
            IoCompleteRequest(Irp, IO_NO_INCREMENT)
            return STATUS_SUCCESS

        name = UNICODE_STRING("\\Device\\Maker")
        DriverObject.MajorFunction[IRP_MJ_CREATE] = control
        return IoCreateDevice(DriverObject, 0, name, FILE_DEVICE_UNKNOWN, 0, FALSE)[0]

    assert machine.load_driver(DriverEntry, name="maker.sys").status == 0

    def app() -> None:
        path = "\\\\.\\Global\\GLOBALROOT\\Device\\Maker"
        win32.CreateFile(path, win32.GENERIC_READ, 0, None, win32.OPEN_EXISTING, 0, None)

    assert machine.run(app).exit_code == 0
    assert found == [0]


def test_opening_finds_the_same_object_while_it_lives(value_of) -> None:
    def body() -> list:
        absent = create("\\Callback\\Mine", FALSE)[0]
        _, made = create("\\Callback\\Mine")
        status, opened = create("\\Callback\\mine", FALSE)
        ObDereferenceObject(made)
        ObDereferenceObject(opened)
        return [absent, status, made == opened, create("\\Callback\\Mine", FALSE)[0]]

    missing = STATUS_OBJECT_NAME_NOT_FOUND
    assert value_of(body) == [missing, 0, True, missing]


def test_the_systems_callbacks_exist(value_of) -> None:
    def body() -> list[int]:
        names = ("SetSystemTime", "PowerState", "ProcessorAdd")
        return [create(f"\\Callback\\{name}", FALSE)[0] for name in names]

    assert value_of(body) == [0, 0, 0]


def test_an_object_for_one_routine_takes_one(value_of) -> None:
    def body() -> list:
        _, callback = create(None, TRUE, FALSE)
        first = ExRegisterCallback(callback, lambda a, b, c: None, 0)
        second = ExRegisterCallback(callback, lambda a, b, c: None, 0)
        ExUnregisterCallback(first)
        return [second, ExRegisterCallback(callback, lambda a, b, c: None, 0) != 0]

    assert value_of(body) == [0, True]


def test_a_name_of_another_type_is_a_mismatch(value_of) -> None:
    assert value_of(lambda: create("\\Device")[0]) == STATUS_OBJECT_TYPE_MISMATCH


def test_unregistering_waits_until_the_routine_has_returned(value_of) -> None:
    def body() -> list:
        _, callback = create(None)
        order = []

        def slow(Context, Argument1, Argument2) -> None:
            pause(20)
            order.append("routine")

        registration = ExRegisterCallback(callback, slow, 0)
        start(lambda Context: ExNotifyCallback(callback, 0, 0))
        pause()
        ExUnregisterCallback(registration)
        order.append("unregistered")
        return order

    assert value_of(body) == ["routine", "unregistered"]


def test_a_routine_that_unregisters_itself_hangs(run_driver) -> None:
    def body() -> None:
        _, callback = create(None)
        registrations = []
        registrations.append(
            ExRegisterCallback(callback, lambda a, b, c: ExUnregisterCallback(registrations[0]), 0)
        )
        ExNotifyCallback(callback, 0, 0)

    with pytest.raises(ntsim.Hang):
        run_driver(body)
