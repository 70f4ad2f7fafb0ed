"""Processes and threads by id, and what is known of them."""

from ntsim.wdm import *


def test_the_system_process_has_id_4(value_of) -> None:
    def work() -> list[object]:
        status, process = PsLookupProcessByProcessId(4)
        name = PsGetProcessImageFileName(process)
        found = [
            status,
            process == IoGetCurrentProcess() == PsGetCurrentProcess(),
            PsGetProcessId(process),
            read_bytes(name, strlen(name)),
            PsGetProcessExitStatus(process),
            PsGetProcessCreateTimeQuadPart(process) > 132_000_000_000_000_000,
        ]
        ObDereferenceObject(process)
        return found

    assert value_of(work) == [0, True, 4, b"System", STATUS_PENDING, True]


def test_lookups_reference_the_object(value_of) -> None:
    def work() -> list[int]:
        before = ObReferenceObject(IoGetCurrentProcess())
        PsLookupProcessByProcessId(4)
        after = ObReferenceObject(IoGetCurrentProcess())
        return [after - before]

    assert value_of(work) == [2]


def test_a_thread_by_its_id(value_of) -> None:
    def work() -> list[object]:
        status, thread = PsLookupThreadByThreadId(PsGetCurrentThreadId())
        return [
            status,
            thread == PsGetCurrentThread() == KeGetCurrentThread(),
            PsGetThreadId(thread) == PsGetCurrentThreadId(),
            PsGetThreadProcessId(thread),
            PsGetThreadProcess(thread) == IoGetCurrentProcess(),
        ]

    assert value_of(work) == [0, True, True, 4, True]


def test_ids_that_nobody_has(value_of) -> None:
    def work() -> list[tuple[int, int]]:
        return [
            PsLookupThreadByThreadId(0),
            PsLookupThreadByThreadId(0xFFFFFFF0),
            PsLookupProcessByProcessId(0xFFFFFFF0),
            PsLookupProcessByProcessId(5),
        ]

    assert value_of(work) == [(STATUS_INVALID_CID, 0)] * 4


def test_versions(value_of) -> None:
    def work() -> list[object]:
        info = RTL_OSVERSIONINFOW()
        info.dwOSVersionInfoSize = sizeof(RTL_OSVERSIONINFOW)
        status = RtlGetVersion(info)
        major, build = ULONG(), ULONG()
        checked = PsGetVersion(major, NULL, build, NULL)
        return [
            status,
            (info.dwMajorVersion, info.dwMinorVersion, info.dwBuildNumber, info.dwPlatformId),
            (checked, major[0], build[0]),
        ]

    assert value_of(work) == [0, (10, 0, 19041, 2), (False, 10, 19041)]
