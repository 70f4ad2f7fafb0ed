"""I/O completion ports.

Sources: Win32 CreateIoCompletionPort, GetQueuedCompletionStatus(Ex), PostQueuedCompletionStatus,
SetFileCompletionNotificationModes; Windows Internals 7, part 1, chapter 6, "I/O completion ports";
Wine dlls/ntdll/tests/file.c (test_iocompletion).
"""

import pytest

from ntsim.abi import ntstatus
from ntsim.wdm import (
    CTL_CODE,
    FILE_ANY_ACCESS,
    FILE_DEVICE_UNKNOWN,
    METHOD_BUFFERED,
    PKDPC,
    PKTIMER,
    STATUS_PENDING,
    STATUS_SUCCESS,
    STATUS_UNSUCCESSFUL,
    ExAllocatePoolWithTag,
    IoCompleteRequest,
    IoGetCurrentIrpStackLocation,
    IoMarkIrpPending,
    KeInitializeDpc,
    KeInitializeTimer,
    KeSetTimer,
    NonPagedPoolNx,
    cast,
    write_bytes,
)
from ntsim.win32 import *

CODE = CTL_CODE(FILE_DEVICE_UNKNOWN, 0x800, METHOD_BUFFERED, FILE_ANY_ACCESS)
KEY = 0x1234_5678_9ABC


def complete(Irp, status: int, information: int) -> int:
    Irp.IoStatus.Status, Irp.IoStatus.Information = status, information
    IoCompleteRequest(Irp, 0)
    return status


def at_once(status: int = STATUS_SUCCESS):
    """A dispatch routine that answers with a text."""

    def routine(DeviceObject, Irp) -> int:
        if status == STATUS_SUCCESS:
            write_bytes(Irp.AssociatedIrp.SystemBuffer, b"answer")
        return complete(Irp, status, 6 if status == STATUS_SUCCESS else 0)

    return routine


def later(status: int = STATUS_SUCCESS):
    """The same, from a timer's DPC a millisecond later."""

    def routine(DeviceObject, Irp) -> int:
        timer = cast(ExAllocatePoolWithTag(NonPagedPoolNx, 64, 1), PKTIMER)
        dpc = cast(ExAllocatePoolWithTag(NonPagedPoolNx, 64, 1), PKDPC)

        def expired(Dpc, Context, One, Two) -> None:
            at_once(status)(DeviceObject, Irp)

        IoMarkIrpPending(Irp)
        KeInitializeTimer(timer)
        KeInitializeDpc(dpc, expired, None)
        KeSetTimer(timer, -10_000, dpc)
        return STATUS_PENDING

    return routine


def device(flags: int = FILE_FLAG_OVERLAPPED):
    access = GENERIC_READ | GENERIC_WRITE
    return CreateFile("\\\\.\\Thing", access, 0, None, OPEN_EXISTING, flags, None)


def with_port(body):
    """An app: `body(handle, port)`."""

    def app():
        handle = device()
        return body(handle, CreateIoCompletionPort(handle, None, KEY, 0))

    return app


def one_packet(handle, port):
    overlapped = OVERLAPPED()
    buffer = DeviceIoControl(handle, CODE, None, 16, overlapped)
    code, size, key, back = GetQueuedCompletionStatus(port, INFINITE)
    more = GetQueuedCompletionStatus(port, 0)
    return code, size, key, back is overlapped, bytes(buffer[:size]), more[0]


@pytest.mark.parametrize("routine", [at_once(), later()])
def test_a_request_ends_as_a_packet(run_app, routine) -> None:
    ran = run_app(with_port(one_packet), device_control=routine)
    assert ran.value == (0, 6, KEY, True, b"answer", WAIT_TIMEOUT)


def test_a_pended_request_that_fails_makes_a_packet_with_its_error(run_app) -> None:
    ran = run_app(with_port(one_packet), device_control=later(STATUS_UNSUCCESSFUL))
    assert ran.value[:4] == (31, 0, KEY, True)


def test_a_request_that_fails_at_once_makes_none(run_app) -> None:
    def body(handle, port):
        with pytest.raises(error) as caught:
            DeviceIoControl(handle, CODE, None, 16, OVERLAPPED())
        return caught.value.winerror, GetQueuedCompletionStatus(port, 0)[0]

    ran = run_app(with_port(body), device_control=at_once(STATUS_UNSUCCESSFUL))
    assert ran.value == (31, WAIT_TIMEOUT)


@pytest.mark.parametrize("routine", [at_once(), later()])
def test_the_low_bit_of_the_event_asks_for_no_packet(run_app, routine) -> None:
    def body(handle, port):
        overlapped = OVERLAPPED()
        overlapped.hEvent = CreateEvent(None, True, False) | 1
        DeviceIoControl(handle, CODE, None, 16, overlapped)
        size = GetOverlappedResult(handle, overlapped, True)
        return size, GetQueuedCompletionStatus(port, 0)[0]

    assert run_app(with_port(body), device_control=routine).value == (6, WAIT_TIMEOUT)


@pytest.mark.parametrize(("routine", "packets"), [(at_once(), 0), (later(), 1)])
def test_packets_of_requests_that_end_at_once_can_be_skipped(run_app, routine, packets) -> None:
    def body(handle, port):
        SetFileCompletionNotificationModes(handle, FILE_SKIP_COMPLETION_PORT_ON_SUCCESS)
        overlapped = OVERLAPPED()
        DeviceIoControl(handle, CODE, None, 16, overlapped)
        code, size, _, back = GetQueuedCompletionStatus(port, 10)
        return (1, size) if back is overlapped else (0, code)

    value = run_app(with_port(body), device_control=routine).value
    assert value == ((1, 6) if packets else (0, WAIT_TIMEOUT))


def test_a_synchronous_handle_and_a_second_port_are_refused(run_app) -> None:
    def app():
        codes = []
        handle = device()
        port = CreateIoCompletionPort(handle, None, 1, 0)
        other = CreateIoCompletionPort(INVALID_HANDLE_VALUE, None, 0, 0)
        for arguments in (
            (device(0), port, 2, 0),
            (handle, other, 2, 0),
            (INVALID_HANDLE_VALUE, port, 2, 0),
            (device(), handle, 2, 0),
        ):
            with pytest.raises(error) as caught:
                CreateIoCompletionPort(*arguments)
            codes.append(caught.value.winerror)
        return codes

    assert run_app(app).value == [87, 87, 87, 6]


def test_posted_packets_come_in_order_and_many_at_once(run_app) -> None:
    def app():
        port = CreateIoCompletionPort(INVALID_HANDLE_VALUE, None, 0, 0)
        overlapped = OVERLAPPED()
        for number in range(5):
            mine = overlapped if number == 3 else None
            PostQueuedCompletionStatus(port, number, 10 * number, mine)
        first = GetQueuedCompletionStatus(port, 0)
        rest = GetQueuedCompletionStatusEx(port, 10, 0)
        found = [(key, back is overlapped, size, status) for key, back, size, status in rest]
        with pytest.raises(error) as caught:
            GetQueuedCompletionStatusEx(port, 10, 0)
        return first, found, caught.value.winerror

    first, rest, code = run_app(app).value
    assert first == (0, 0, 0, None)
    assert rest == [(10 * n, n == 3, n, 0) for n in range(1, 5)]
    assert code == WAIT_TIMEOUT


def test_closing_the_port_ends_the_wait(run_app) -> None:
    def app():
        port = CreateIoCompletionPort(INVALID_HANDLE_VALUE, None, 0, 0)
        found = []

        def wait(_) -> int:
            found.append(GetQueuedCompletionStatus(port, INFINITE))
            return 0

        thread, _ = CreateThread(None, 0, wait, 0, 0)
        Sleep(5)
        CloseHandle(port)
        WaitForSingleObject(thread, INFINITE)
        return found

    assert run_app(app).value == [(735, 0, 0, None)]


def test_the_concurrency_of_a_port_limits_the_threads_that_run(run_app) -> None:
    """Two threads, one at a time: while the first works, a second packet waits."""

    def app():
        port = CreateIoCompletionPort(INVALID_HANDLE_VALUE, None, 0, 1)
        running, most, done = [0], [0], []

        def work(_) -> int:
            while True:
                _, _, key, _ = GetQueuedCompletionStatus(port, INFINITE)
                if not key:
                    return 0
                running[0] += 1
                most[0] = max(most[0], running[0])
                for _ in range(200):
                    GetLastError()
                running[0] -= 1
                done.append(key)

        handles = [CreateThread(None, 0, work, 0, 0)[0] for _ in range(3)]
        for key in range(1, 21):
            PostQueuedCompletionStatus(port, 0, key)
        for _ in handles:
            PostQueuedCompletionStatus(port, 0, 0)
        WaitForMultipleObjects(handles, True, INFINITE)
        return most[0], sorted(done)

    for seed in range(3):
        ran = run_app(app, options={"processors": 4, "seed": seed})
        assert ran.value == (1, list(range(1, 21)))


def test_read_file_makes_packets_too(run_app) -> None:
    def read(DeviceObject, Irp) -> int:
        assert IoGetCurrentIrpStackLocation(Irp).Parameters.Read.Length == 8
        return complete(Irp, STATUS_SUCCESS, 0)

    def body(handle, port):
        overlapped = OVERLAPPED()
        ReadFile(handle, 8, overlapped)
        return GetQueuedCompletionStatus(port, 0)[3] is overlapped

    assert run_app(with_port(body), read=read).value


def test_a_thousand_requests_and_a_port_closed_with_packets_in_it(run_app) -> None:
    def body(handle, port):
        for _ in range(10):
            waiting = [OVERLAPPED() for _ in range(100)]
            for each in waiting:
                DeviceIoControl(handle, CODE, None, 16, each)
            back = [GetQueuedCompletionStatus(port, INFINITE)[3] for _ in waiting]
            assert set(map(id, back)) == set(map(id, waiting))
        PostQueuedCompletionStatus(port, 1, 2)
        DeviceIoControl(handle, CODE, None, 16, OVERLAPPED())
        CloseHandle(port)
        CloseHandle(handle)
        return len(back)

    ran = run_app(with_port(body), options={"verifier": "standard"}, device_control=later())
    assert ran.value == 100


@pytest.mark.parametrize("ports", [False, True])
def test_a_request_may_be_a_files_last_reference(run_app, ports: bool) -> None:
    """It completes in an APC of the ending thread, and IRP_MJ_CLOSE is sent inside that."""

    def app() -> None:
        handle = device()
        if ports:
            CreateIoCompletionPort(handle, None, KEY, 0)
        DeviceIoControl(handle, CODE, None, 16, OVERLAPPED())
        CloseHandle(handle)

    run_app(app, device_control=later())


def test_statuses_of_the_services(run_app) -> None:
    from ntsim.um import ntdll
    from ntsim.um.kernelbase import running

    def app():
        user = running()
        port = CreateIoCompletionPort(INVALID_HANDLE_VALUE, None, 0, 0)
        PostQueuedCompletionStatus(port, 0, 1)
        where = user.scratch + 0x90
        depth = ntdll.NtQueryIoCompletion(int(port), 0, where, 4, 0), user.number(0x90, 4)
        return (
            depth,
            ntdll.NtQueryIoCompletion(int(port), 1, where, 4, 0),
            ntdll.NtQueryIoCompletion(int(port), 0, where, 8, 0),
            ntdll.NtRemoveIoCompletionEx(int(port), where, 0, where, 0, 0),
            ntdll.NtSetIoCompletion(0x4444, 0, 0, 0, 0),
        )

    assert run_app(app).value == (
        (0, 1),
        ntstatus.STATUS_INVALID_INFO_CLASS,
        ntstatus.STATUS_INFO_LENGTH_MISMATCH,
        ntstatus.STATUS_INVALID_PARAMETER,
        ntstatus.STATUS_INVALID_HANDLE,
    )
