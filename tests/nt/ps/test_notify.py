"""Notify routines of processes, threads and images.

Source: WDK PsSetCreateProcessNotifyRoutineEx, PsSetCreateThreadNotifyRoutine,
PsSetLoadImageNotifyRoutine.
"""

import pytest

import ntsim
from ntsim.wdm import *

DENIED = 0xC000_0022


def text_of(string) -> str:
    return read_bytes(string.Buffer, string.Length).decode("utf-16-le")


def app() -> None:
    print("ran")


def test_processes_and_their_threads_are_announced_from_start_to_end(ntsim_machine) -> None:
    calls: list = []

    def process(ParentId, ProcessId, Create) -> None:
        calls.append(("process", ProcessId, Create, KeGetCurrentIrql()))

    def thread(ProcessId, ThreadId, Create) -> None:
        calls.append(("thread", ProcessId, Create, ThreadId))

    def DriverEntry(DriverObject, RegistryPath) -> int:
        assert PsSetCreateProcessNotifyRoutine(process, FALSE) == STATUS_SUCCESS
        return PsSetCreateThreadNotifyRoutine(thread)

    machine = ntsim_machine()
    machine.load_driver(DriverEntry, name="drv.sys")
    done = machine.run(app)
    tid = calls[1][3]
    assert done.stdout == "ran\n"
    assert calls == [
        ("process", done.pid, 1, 0), ("thread", done.pid, 1, tid),
        ("thread", done.pid, 0, tid), ("process", done.pid, 0, 0),
    ]  # fmt: skip


def test_an_extended_routine_gets_the_name_and_may_refuse(ntsim_machine) -> None:
    calls: list = []

    def process(Process, ProcessId, CreateInfo) -> None:
        info = cast(CreateInfo, PPS_CREATE_NOTIFY_INFO)
        calls.append(text_of(info.ImageFileName) if info else None)
        if info and calls[-1] == "evil.exe":
            info.CreationStatus = STATUS_ACCESS_DENIED

    machine = ntsim_machine()
    machine.load_driver(
        lambda d, r: PsSetCreateProcessNotifyRoutineEx(process, FALSE), name="drv.sys"
    )
    good, evil = machine.run(app, name="good.exe"), machine.run(app, name="evil.exe")
    assert (good.exit_code, good.stdout) == (0, "ran\n")
    assert (evil.exit_code & 0xFFFF_FFFF, evil.stdout) == (DENIED, "")
    assert calls == ["good.exe", None, "evil.exe", None]


def test_images_of_apps_and_drivers_are_announced_before_they_run(ntsim_machine) -> None:
    calls: list = []

    def image(FullImageName, ProcessId, ImageInfo) -> None:
        info = cast(ImageInfo, PIMAGE_INFO)
        name = text_of(cast(FullImageName, PUNICODE_STRING)).rpartition("\\")[2]
        calls.append((name, ProcessId, info.Properties >> 8 & 1, info.ImageSize > 0))

    machine = ntsim_machine()
    machine.load_driver(lambda d, r: PsSetLoadImageNotifyRoutine(image), name="drv.sys")
    done = machine.run(app, name="some.exe")
    machine.load_driver(lambda d, r: calls.append("entry") or 0, name="next.sys")
    assert calls == [("some.exe", done.pid, 0, True), ("next.sys", 0, 1, True), "entry"]


def test_system_threads_are_announced(value_of) -> None:
    def body() -> list:
        calls, ran = [], []

        def notify(ProcessId, ThreadId, Create) -> None:
            calls.append((ProcessId, Create))

        PsSetCreateThreadNotifyRoutine(notify)
        _, handle = PsCreateSystemThread(0, NULL, NULL, NULL, lambda c: ran.append(1), NULL)
        _, thread = ObReferenceObjectByHandle(handle, 0, NULL, KernelMode, NULL)
        KeWaitForSingleObject(thread, Executive, KernelMode, FALSE, NULL)
        removed = PsRemoveCreateThreadNotifyRoutine(notify)
        ObDereferenceObject(thread)
        ZwClose(handle)
        return [calls, ran, removed]

    assert value_of(body) == [[(4, 1), (4, 0)], [1], 0]


def test_registering_twice_or_removing_what_is_not_there_fails(value_of) -> None:
    def body() -> list[int]:
        def routine(one, two, three) -> None:
            pass

        return [
            PsSetCreateProcessNotifyRoutine(routine, TRUE),
            PsSetCreateProcessNotifyRoutine(routine, FALSE),
            PsSetCreateProcessNotifyRoutine(routine, FALSE),
            PsSetCreateProcessNotifyRoutine(routine, TRUE),
            PsRemoveCreateThreadNotifyRoutine(routine),
            PsRemoveLoadImageNotifyRoutine(routine),
            *(PsSetLoadImageNotifyRoutine(routine) for _ in range(65)),
        ]

    bad, none = STATUS_INVALID_PARAMETER, STATUS_PROCEDURE_NOT_FOUND
    full = STATUS_INSUFFICIENT_RESOURCES
    assert value_of(body) == [none, 0, bad, 0, none, none, *[0] * 64, full]


def test_a_routine_of_an_unloaded_driver_is_0xce(ntsim_machine) -> None:
    def DriverEntry(DriverObject, RegistryPath) -> int:
        DriverObject.DriverUnload = lambda DriverObject: None
        return PsSetCreateProcessNotifyRoutine(lambda parent, process, create: None, FALSE)

    machine = ntsim_machine()
    machine.unload_driver(machine.load_driver(DriverEntry, name="drv.sys"))
    with pytest.raises(ntsim.BugCheck) as caught:
        machine.run(app)
    assert caught.value.code == 0xCE
