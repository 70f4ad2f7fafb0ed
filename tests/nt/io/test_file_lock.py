"""Requests on a synchronous handle go one after the other; on an asynchronous one they do not.

Sources: Windows Internals 7, part 1, chapter 6; ReactOS IopLockFileObject; WDK NtReadFile (offset).
"""

from pathlib import Path

import pytest

from ntsim import Machine
from ntsim.win32 import *

PARROT = Path(__file__).parents[2] / "um" / "parrot.py"
PEND = CTL_CODE(FILE_DEVICE_UNKNOWN, 0x805, METHOD_BUFFERED, FILE_ANY_ACCESS)
COMPLETE = CTL_CODE(FILE_DEVICE_UNKNOWN, 0x806, METHOD_BUFFERED, FILE_ANY_ACCESS)
ECHO = CTL_CODE(FILE_DEVICE_UNKNOWN, 0x800, METHOD_BUFFERED, FILE_ANY_ACCESS)


@pytest.fixture
def machine(ntsim_machine):
    made = ntsim_machine(processors=2)
    made.load_driver(PARROT)
    return made


def parrot(flags: int = 0) -> int:
    access = GENERIC_READ | GENERIC_WRITE
    return CreateFile("\\\\.\\Parrot", access, 0, None, OPEN_EXISTING, flags, None)


def test_a_second_request_on_a_synchronous_handle_waits_for_the_first(machine: Machine) -> None:
    order: list[str] = []

    def app() -> None:
        device, other = parrot(), parrot()

        def first() -> None:
            DeviceIoControl(device, PEND, b"", 8)
            order.append("pended")

        def second() -> None:
            DeviceIoControl(device, ECHO, b"x", 8)
            order.append("echo")

        threads = [CreateThread(None, 0, first)]
        Sleep(10)
        threads.append(CreateThread(None, 0, second))
        Sleep(10)
        order.append("completing")
        DeviceIoControl(other, COMPLETE, b"", 0)
        WaitForMultipleObjects(threads, True, INFINITE)

    machine.run(app)
    assert order[0] == "completing"
    assert sorted(order[1:]) == ["echo", "pended"]


def test_an_asynchronous_handle_has_no_such_order(machine: Machine) -> None:
    found: list[bytes] = []

    def app() -> None:
        device = parrot(FILE_FLAG_OVERLAPPED)
        pending, request = OVERLAPPED(), OVERLAPPED()
        DeviceIoControl(device, PEND, b"", 8, pending)
        answer = DeviceIoControl(device, ECHO, b"at once", 8, request)
        GetOverlappedResult(device, request, True)
        DeviceIoControl(device, COMPLETE, b"", 0)
        found.append(bytes(answer[:7]))

    machine.run(app)
    assert found == [b"at once"]


def test_a_thousand_requests_from_many_threads_on_one_handle_all_come_back(
    machine: Machine,
) -> None:
    answers: list[bytes] = []

    def app() -> None:
        device = parrot()

        def echo() -> None:
            for number in range(100):
                answers.append(bytes(DeviceIoControl(device, ECHO, b"%3d" % number, 3)))

        threads = [CreateThread(None, 0, echo) for _ in range(10)]
        WaitForMultipleObjects(threads, True, INFINITE)

    machine.run(app)
    assert sorted(answers) == sorted(b"%3d" % number for number in range(100) for _ in range(10))


def test_the_file_object_says_who_is_inside_and_who_waits(machine: Machine) -> None:
    found: list[tuple[int, int]] = []

    def app(file_of) -> None:
        device, other = parrot(), parrot()
        file = file_of(device)
        found.append(state(file))
        waiting = [CreateThread(None, 0, lambda: DeviceIoControl(device, PEND, b"", 8))]
        Sleep(10)
        found.append(state(file))
        waiting += [CreateThread(None, 0, lambda: DeviceIoControl(device, ECHO, b"", 0))]
        waiting += [CreateThread(None, 0, lambda: DeviceIoControl(device, ECHO, b"", 0))]
        Sleep(10)
        found.append(state(file))
        DeviceIoControl(other, COMPLETE, b"", 0)
        WaitForMultipleObjects(waiting, True, INFINITE)
        found.append(state(file))

    kernel = machine.nt

    def state(file) -> tuple[int, int]:
        return int(file.Busy), int(file.Waiters)

    def file_of(handle: int):
        from ntsim.abi.io import FILE_OBJECT

        body, _ = kernel.ps.current_process().handles.lookup(handle)
        return FILE_OBJECT.at(kernel.mmu, body)

    machine.run(lambda: app(file_of))
    assert found == [(0, 0), (1, 0), (1, 2), (0, 0)]


def test_closing_the_last_handle_waits_for_the_request_under_way(machine: Machine) -> None:
    order: list[str] = []

    def app() -> None:
        device, other = parrot(), parrot()

        def pend() -> None:
            DeviceIoControl(device, PEND, b"", 8)
            order.append("pended")

        def close() -> None:
            CloseHandle(device)
            order.append("closed")

        threads = [CreateThread(None, 0, pend)]
        Sleep(10)
        threads.append(CreateThread(None, 0, close))
        Sleep(10)
        order.append("completing")
        DeviceIoControl(other, COMPLETE, b"", 0)
        WaitForMultipleObjects(threads, True, INFINITE)

    machine.run(app)
    assert order[0] == "completing"
    assert sorted(order[1:]) == ["closed", "pended"]


def test_a_killed_app_lets_go_of_the_lock(machine: Machine) -> None:
    def app() -> None:
        device = parrot()
        for _ in range(3):
            CreateThread(None, 0, lambda: DeviceIoControl(device, PEND, b"", 8))
        Sleep(10)

    machine.run(app)

    found: list[bytes] = []
    machine.run(lambda: found.append(bytes(DeviceIoControl(parrot(), ECHO, b"again", 5))))
    assert found == [b"again"]


def test_a_request_refused_before_it_was_sent_gives_the_lock_back(machine: Machine) -> None:
    found: list[bytes] = []

    def app() -> None:
        device = parrot()
        with pytest.raises(error) as caught:
            DeviceIoControl(device, ECHO, (0x10, 8), 8)
        assert caught.value.winerror == ERROR_NOACCESS
        found.append(bytes(DeviceIoControl(device, ECHO, b"fine", 4)))

    machine.run(app)
    assert found == [b"fine"]
