"""Asynchronous requests: pending, completed, cancelled."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from ntsim import Machine
from ntsim.win32 import *

Run = Callable[..., Any]


def test_a_pending_request_completes_later(run: Run, parrot: Any, codes: SimpleNamespace) -> None:
    def app() -> tuple[Any, ...]:
        device = parrot(FILE_FLAG_OVERLAPPED)
        request = OVERLAPPED()
        request.hEvent = CreateEvent(None, 1, 0, None)
        buffer = DeviceIoControl(device, codes.PEND, b"", 8, request)
        assert len(buffer) == 8
        assert GetLastError() == ERROR_IO_PENDING
        pending = request.Internal, HasOverlappedIoCompleted(request)
        with pytest.raises(error) as caught:
            GetOverlappedResult(device, request, False)
        DeviceIoControl(device, codes.COMPLETE_PENDED, b"", 0)
        count = GetOverlappedResult(device, request, True)
        return pending, caught.value.winerror, count, bytes(buffer), request.InternalHigh

    expected = ((0x103, False), ERROR_IO_INCOMPLETE, 4, b"late\0\0\0\0", 4)
    assert run(app) == expected


def test_get_overlapped_result_waits(run: Run, parrot: Any, codes: SimpleNamespace) -> None:
    def app() -> tuple[int, bytes]:
        device = parrot(FILE_FLAG_OVERLAPPED)
        request = OVERLAPPED()
        buffer = bytearray(6)
        assert DeviceIoControl(device, codes.PEND, b"", buffer, request) is buffer

        def later() -> None:
            Sleep(100)
            DeviceIoControl(parrot(), codes.COMPLETE_PENDED, b"", 0)

        CreateThread(None, 0, later)
        return GetOverlappedResult(device, request, True), bytes(buffer)

    assert run(app) == (4, b"late\0\0")


def test_a_request_that_completes_at_once_is_fetched_the_same_way(
    run: Run, parrot: Any, codes: SimpleNamespace
) -> None:
    def app() -> tuple[int, bytes]:
        device = parrot(FILE_FLAG_OVERLAPPED)
        request = OVERLAPPED()
        buffer = DeviceIoControl(device, codes.ECHO, b"now", 8, request)
        return GetOverlappedResult(device, request, False), bytes(buffer[:3])

    assert run(app) == (3, b"now")


def test_a_plain_call_on_an_overlapped_handle_waits(
    run: Run, parrot: Any, codes: SimpleNamespace
) -> None:
    def app() -> bytes:
        device = parrot(FILE_FLAG_OVERLAPPED)

        def later() -> None:
            Sleep(10)
            DeviceIoControl(parrot(), codes.COMPLETE_PENDED, b"", 0)

        CreateThread(None, 0, later)
        return DeviceIoControl(device, codes.PEND, b"", 8)

    assert run(app) == b"late"


def test_cancel_io_ex_cancels_one_request(run: Run, parrot: Any, codes: SimpleNamespace) -> None:
    def app() -> tuple[Any, ...]:
        device = parrot(FILE_FLAG_OVERLAPPED)
        first, second = OVERLAPPED(), OVERLAPPED()
        for request in (first, second):
            request.hEvent = CreateEvent(None, 1, 0, None)
            DeviceIoControl(device, codes.PEND, b"", 8, request)
        CancelIoEx(device, second)
        states = HasOverlappedIoCompleted(first), HasOverlappedIoCompleted(second)
        with pytest.raises(error) as caught:
            GetOverlappedResult(device, second, True)
        CancelIoEx(device)
        with pytest.raises(error):
            GetOverlappedResult(device, first, True)
        with pytest.raises(error) as none_left:
            CancelIoEx(device, first)
        return states, caught.value.winerror, none_left.value.winerror

    assert run(app) == ((False, True), ERROR_OPERATION_ABORTED, ERROR_NOT_FOUND)


def test_cancel_io_cancels_the_thread_s_requests(
    run: Run, parrot: Any, codes: SimpleNamespace
) -> None:
    def app() -> int:
        device = parrot(FILE_FLAG_OVERLAPPED)
        request = OVERLAPPED()
        DeviceIoControl(device, codes.PEND, b"", 8, request)
        CancelIo(device)
        with pytest.raises(error) as caught:
            GetOverlappedResult(device, request, True)
        return caught.value.winerror

    assert run(app) == ERROR_OPERATION_ABORTED


def test_overlapped_reads_and_writes(run: Run, parrot: Any) -> None:
    def app() -> tuple[Any, ...]:
        device = parrot(FILE_FLAG_OVERLAPPED)
        request = OVERLAPPED()
        code, buffer = ReadFile(device, 4, request)
        got = GetOverlappedResult(device, request, True)
        written = WriteFile(device, b"abcde", OVERLAPPED())
        return code, got, bytes(buffer), written

    assert run(app) == (0, 4, b"0123", (0, 5))


def test_a_failing_overlapped_call_raises_at_once(
    run: Run, parrot: Any, codes: SimpleNamespace
) -> None:
    def app() -> int:
        device = parrot(FILE_FLAG_OVERLAPPED)
        with pytest.raises(error) as caught:
            DeviceIoControl(device, codes.FAIL_AFTER_WRITING, b"", 8, OVERLAPPED())
        return caught.value.winerror

    assert run(app) == ERROR_NOT_READY


def test_events_of_finished_requests_are_gone_with_their_handles(
    machine: Machine, run: Run, parrot: Any, codes: SimpleNamespace
) -> None:
    def app() -> None:
        device = parrot(FILE_FLAG_OVERLAPPED)
        for code in (codes.ECHO, codes.FAIL_AFTER_WRITING, codes.PEND):
            request = OVERLAPPED()
            request.hEvent = CreateEvent(None, 1, 0, None)
            try:
                DeviceIoControl(device, code, b"x", 8, request)
                DeviceIoControl(parrot(), codes.COMPLETE_PENDED, b"", 0)
                GetOverlappedResult(device, request, True)
            except error:
                pass
            CloseHandle(request.hEvent)

    run(app)
    ob = machine.nt.ob
    assert not [body for body in ob.bodies if ob.type_of(body).name == "Event"]


def test_a_buffer_that_vanished_fails_the_request(
    run: Run, parrot: Any, codes: SimpleNamespace
) -> None:
    def app() -> int:
        device = parrot(FILE_FLAG_OVERLAPPED)
        memory = VirtualAlloc(0, 0x1000, MEM_COMMIT | MEM_RESERVE, PAGE_READWRITE)
        request = OVERLAPPED()
        DeviceIoControl(device, codes.PEND, b"", (memory, 8), request)
        VirtualFree(memory, 0, MEM_RELEASE)
        DeviceIoControl(parrot(), codes.COMPLETE_PENDED, b"", 0)
        with pytest.raises(error) as caught:
            GetOverlappedResult(device, request, True)
        return caught.value.winerror

    assert run(app) == ERROR_NOACCESS
