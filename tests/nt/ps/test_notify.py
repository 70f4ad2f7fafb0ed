"""Notify routines of processes, threads and images.

Source: WDK PsSetCreateProcessNotifyRoutineEx, PsSetCreateThreadNotifyRoutine,
PsSetLoadImageNotifyRoutine.
"""

from functools import partial
from pathlib import Path

import pytest

import ntsim
from ntsim.wdm import *
from ntsim.wdm import PsSetCreateProcessNotifyRoutineEx2 as Ex2

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


def test_the_further_forms_of_registration_tell_of_the_same(ntsim_machine) -> None:
    """WDK: PsCreateProcessNotifySubsystems is 0; PsCreateThreadNotifyNonSystem 0, which leaves the
    System process out, PsCreateThreadNotifySubsystems 1."""
    told: list = []

    def process(Process, ProcessId, CreateInfo) -> None:
        told.append("process")

    def thread(ProcessId, ThreadId, Create) -> None:
        told.append(("thread", ProcessId != 4))

    def any_thread(ProcessId, ThreadId, Create) -> None:
        told.append(("any", ProcessId != 4))

    def image(FullImageName, ProcessId, ImageInfo) -> None:
        told.append("image")

    def own(StartContext) -> None:
        PsTerminateSystemThread(STATUS_SUCCESS)

    def DriverEntry(DriverObject, RegistryPath) -> int:
        assert PsSetCreateProcessNotifyRoutineEx2(1, process, FALSE) == STATUS_INVALID_PARAMETER
        assert PsSetCreateThreadNotifyRoutineEx(2, thread) == STATUS_INVALID_PARAMETER
        assert PsSetLoadImageNotifyRoutineEx(image, 2) == STATUS_INVALID_PARAMETER
        assert PsSetCreateProcessNotifyRoutineEx2(0, process, FALSE) == STATUS_SUCCESS
        assert PsSetCreateThreadNotifyRoutineEx(0, thread) == STATUS_SUCCESS
        assert PsSetCreateThreadNotifyRoutineEx(1, any_thread) == STATUS_SUCCESS
        assert PsSetLoadImageNotifyRoutineEx(image, 1) == STATUS_SUCCESS
        PsCreateSystemThread(0, NULL, NULL, NULL, own, NULL)
        DriverObject.DriverUnload = unload
        return STATUS_SUCCESS

    def unload(DriverObject) -> None:
        assert PsSetCreateProcessNotifyRoutineEx2(0, process, TRUE) == STATUS_SUCCESS
        for routine in (thread, any_thread):
            assert PsRemoveCreateThreadNotifyRoutine(routine) == STATUS_SUCCESS
        assert PsRemoveLoadImageNotifyRoutine(image) == STATUS_SUCCESS

    machine = ntsim_machine()
    driver = machine.load_driver(DriverEntry, name="drv.sys")
    machine.run_until_idle()
    assert told
    assert set(told) == {("any", False)}
    told.clear()
    machine.run(app)
    both = [("thread", True), ("any", True)]
    assert told == ["process", *both, "image", *both, "process"]
    machine.unload_driver(driver)
    told.clear()
    machine.run(app)
    assert told == []


@pytest.mark.parametrize("linked", [False, True])
def test_only_a_driver_linked_with_integritycheck_may_watch_processes(
    ntsim_machine, tmp_path, linked
) -> None:
    """WDK: STATUS_ACCESS_DENIED. The bit of its KLDR_DATA_TABLE_ENTRY decides, as on Windows."""
    data = bytearray((Path(__file__).parents[3] / "driver/c/hello.sys").read_bytes())
    at = int.from_bytes(data[0x3C:0x40], "little") + 24 + 70
    assert not data[at] & 0x80
    data[at] |= 0x80 * linked
    file = tmp_path / "hello.sys"
    file.write_bytes(data)
    machine = ntsim_machine()
    image = machine.load_driver(file).image
    answers: list = []

    def DriverEntry(DriverObject, RegistryPath) -> int:
        for routine in (PsSetCreateProcessNotifyRoutineEx, partial(Ex2, 0)):
            answers.append(routine(image.base + 0x1000, FALSE))
            routine(image.base + 0x1000, TRUE)
        return STATUS_SUCCESS

    machine.load_driver(DriverEntry)
    assert answers == [STATUS_SUCCESS if linked else STATUS_ACCESS_DENIED] * 2
    assert len(machine.findings) == (0 if linked else 2)
    if not linked:
        assert "hello.sys has no right to: link with /INTEGRITYCHECK" in machine.findings[0].text
        machine.nt.mmu.write(image.owner + 0x68, b"\x20")
        machine.load_driver(DriverEntry, name="again.sys")
        assert answers[2:] == [STATUS_SUCCESS] * 2
