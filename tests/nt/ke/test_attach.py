"""Attaching to processes, and the three bug checks of those who forget where they are.

Source: WDK KeStackAttachProcess; bug checks 0x1, 0x5, 0x6.
"""

import pytest

import ntsim
from ntsim.wdm import *

APP_TEXT = b"in the app"


def in_dispatch(ntsim_machine, attempt):
    """What `attempt(app's process, user buffer)` returns in a system thread while an app waits."""
    found: list = []

    def DriverEntry(DriverObject, RegistryPath) -> int:
        name = UNICODE_STRING("\\Device\\At")
        _, _device = IoCreateDevice(DriverObject, 0, name, FILE_DEVICE_UNKNOWN, 0, FALSE)
        IoCreateSymbolicLink(UNICODE_STRING("\\??\\At"), name)
        system = PsGetCurrentProcess()

        def done(DeviceObject, Irp) -> int:
            Irp.IoStatus.Status = STATUS_SUCCESS
            IoCompleteRequest(Irp, IO_NO_INCREMENT)
            return STATUS_SUCCESS

        def control(DeviceObject, Irp) -> int:
            buffer = IoGetCurrentIrpStackLocation(Irp).Parameters.DeviceIoControl.Type3InputBuffer
            app, finished = PsGetCurrentProcess(), KEVENT()
            KeInitializeEvent(finished, NotificationEvent, FALSE)

            def worker(Context) -> None:
                found.append(attempt(app, buffer, system))
                KeSetEvent(finished, 0, FALSE)

            _, handle = PsCreateSystemThread(OBJ_KERNEL_HANDLE, NULL, NULL, NULL, worker, NULL)
            KeWaitForSingleObject(finished, Executive, KernelMode, FALSE, NULL)
            ZwClose(handle)
            return done(DeviceObject, Irp)

        for major in (IRP_MJ_CREATE, IRP_MJ_CLEANUP, IRP_MJ_CLOSE):
            DriverObject.MajorFunction[major] = done
        DriverObject.MajorFunction[IRP_MJ_DEVICE_CONTROL] = control
        return STATUS_SUCCESS

    def app() -> None:
        from ntsim.win32 import CreateFile, DeviceIoControl

        handle = CreateFile("\\\\.\\At", 0, 0, None, 3, 0, None)
        DeviceIoControl(handle, CTL_CODE(0x22, 0x800, 3, 0), APP_TEXT, None)

    machine = ntsim_machine()
    machine.load_driver(DriverEntry, name="drv.sys")
    machine.run(app)
    return found[0]


def test_an_attached_thread_sees_the_other_process_s_memory(ntsim_machine) -> None:
    def attempt(app, buffer, system) -> list:
        state = KAPC_STATE()
        thread = KeGetCurrentThread()
        KeStackAttachProcess(app, state)
        found = [PsGetCurrentProcess() == app, thread.ApcStateIndex, state.Process]
        found.append(read_bytes(buffer, len(APP_TEXT)))
        found.append(thread.SavedApcState.Process == system)
        KeUnstackDetachProcess(state)
        return [*found, PsGetCurrentProcess() == system, thread.ApcStateIndex]

    assert in_dispatch(ntsim_machine, attempt) == [True, 1, 0, APP_TEXT, True, True, 0]


def test_attaching_nests_and_attaching_at_home_does_nothing(ntsim_machine) -> None:
    def attempt(app, buffer, system) -> list:
        states = [KAPC_STATE() for _ in range(3)]
        thread = KeGetCurrentThread()
        KeStackAttachProcess(system, states[0])
        found = [thread.ApcStateIndex, int(states[0].Process)]
        KeStackAttachProcess(app, states[1])
        KeStackAttachProcess(system, states[2])
        found += [PsGetCurrentProcess() == system, states[2].Process == app, thread.ApcStateIndex]
        KeUnstackDetachProcess(states[2])
        found += [PsGetCurrentProcess() == app, read_bytes(buffer, 2), thread.ApcStateIndex]
        KeUnstackDetachProcess(states[1])
        KeUnstackDetachProcess(states[0])
        return [*found, PsGetCurrentProcess() == system, thread.ApcStateIndex]

    expected = [0, 1, True, True, 1, True, b"in", 1, True, 0]
    assert in_dispatch(ntsim_machine, attempt) == expected


def test_a_thread_that_waits_while_attached_comes_back_attached(ntsim_machine) -> None:
    def attempt(app, buffer, system) -> bytes:
        state, interval = KAPC_STATE(), LARGE_INTEGER()
        interval.QuadPart = -50_000
        KeStackAttachProcess(app, state)
        KeDelayExecutionThread(KernelMode, FALSE, interval)
        text = read_bytes(buffer, len(APP_TEXT))
        KeUnstackDetachProcess(state)
        return text

    assert in_dispatch(ntsim_machine, attempt) == APP_TEXT


def test_the_older_routines_attach_once(ntsim_machine) -> None:
    def attempt(app, buffer, system) -> list:
        KeAttachProcess(app)
        found = [read_bytes(buffer, 2), KeGetCurrentThread().ApcStateIndex]
        KeDetachProcess()
        KeDetachProcess()
        return [*found, KeGetCurrentThread().ApcStateIndex]

    assert in_dispatch(ntsim_machine, attempt) == [b"in", 1, 0]


def test_attaching_twice_without_a_stack_is_0x5(ntsim_machine) -> None:
    processes = []

    def attempt(app, buffer, system) -> None:
        processes.extend([int(system), int(app)])
        KeAttachProcess(app)
        KeAttachProcess(system)

    with pytest.raises(ntsim.BugCheck) as caught:
        in_dispatch(ntsim_machine, attempt)
    assert caught.value.name == "INVALID_PROCESS_ATTACH_ATTEMPT"
    assert list(caught.value.parameters) == [*processes, 1, 0]


def test_attaching_in_a_dpc_is_0x5(bugcheck_of) -> None:
    def body() -> None:
        dpc, state, process = KDPC(), KAPC_STATE(), PsGetCurrentProcess()
        KeInitializeDpc(dpc, lambda d, c, one, two: KeStackAttachProcess(process, state), NULL)
        KeInsertQueueDpc(dpc, NULL, NULL)

    stop = bugcheck_of(body)
    assert (stop.code, stop.parameters[3]) == (0x5, 1)


def test_detaching_without_being_attached_is_0x6(bugcheck_of) -> None:
    assert bugcheck_of(lambda: KeUnstackDetachProcess(KAPC_STATE())).code == 0x6


def test_a_thread_that_ends_attached_is_0x5(ntsim_machine) -> None:
    def attempt(app, buffer, system) -> None:
        KeStackAttachProcess(app, KAPC_STATE())
        PsTerminateSystemThread(STATUS_SUCCESS)

    with pytest.raises(ntsim.BugCheck) as caught:
        in_dispatch(ntsim_machine, attempt)
    assert caught.value.code == 0x5


def test_leaving_a_system_call_attached_is_0x1(ntsim_machine) -> None:
    def DriverEntry(DriverObject, RegistryPath) -> int:
        name = UNICODE_STRING("\\Device\\At")
        IoCreateDevice(DriverObject, 0, name, FILE_DEVICE_UNKNOWN, 0, FALSE)
        IoCreateSymbolicLink(UNICODE_STRING("\\??\\At"), name)
        system = PsGetCurrentProcess()

        def create(DeviceObject, Irp) -> int:
            Irp.IoStatus.Status = STATUS_SUCCESS
            IoCompleteRequest(Irp, IO_NO_INCREMENT)
            KeStackAttachProcess(system, KAPC_STATE())
            return STATUS_SUCCESS

        DriverObject.MajorFunction[IRP_MJ_CREATE] = create
        return STATUS_SUCCESS

    def app() -> None:
        from ntsim.win32 import CreateFile

        CreateFile("\\\\.\\At", 0, 0, None, 3, 0, None)

    machine = ntsim_machine()
    machine.load_driver(DriverEntry, name="drv.sys")
    with pytest.raises(ntsim.BugCheck) as caught:
        machine.run(app)
    assert (caught.value.name, caught.value.parameters[1]) == ("APC_INDEX_MISMATCH", 1)
