"""Threads, waits, events, mutexes, semaphores, APCs; and how threads and processes are ended."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from ntsim import Machine
from ntsim.win32 import *

Run = Callable[..., Any]


def test_a_thread_runs_and_its_result_is_its_exit_code(run: Run) -> None:
    def app() -> tuple[Any, ...]:
        seen: list[Any] = []

        def worker(a: int, b: int) -> int:
            seen.append((a, b, GetCurrentThreadId()))
            return 42

        thread, thread_id = CreateThread(None, 0, worker, (1, 2))
        before = GetExitCodeThread(thread) if not seen else STILL_ACTIVE
        waited = WaitForSingleObject(thread, INFINITE)
        assert seen == [(1, 2, thread_id)]
        return before, waited, GetExitCodeThread(thread)

    assert run(app) == (STILL_ACTIVE, WAIT_OBJECT_0, 42)


def test_what_create_thread_returns_is_a_handle_too(run: Run) -> None:
    assert run(lambda: WaitForSingleObject(CreateThread(None, 0, lambda: 0), INFINITE)) == 0


def test_a_suspended_thread_begins_when_resumed(run: Run) -> None:
    def app() -> list[Any]:
        seen: list[Any] = []
        thread, _ = CreateThread(None, 0, seen.append, "ran", CREATE_SUSPENDED)
        seen.append(WaitForSingleObject(thread, 100))
        seen.append(ResumeThread(thread))
        WaitForSingleObject(thread, INFINITE)
        return seen

    assert run(app) == [WAIT_TIMEOUT, 1, "ran"]


def test_events_wake_one_or_all(run: Run) -> None:
    def app() -> tuple[int, ...]:
        auto, manual = CreateEvent(None, 0, 1, None), CreateEvent(None, 1, 0, None)
        first = WaitForSingleObject(auto, 0), WaitForSingleObject(auto, 0)
        SetEvent(manual)
        second = WaitForSingleObject(manual, 0), WaitForSingleObject(manual, 0)
        ResetEvent(manual)
        return (*first, *second, WaitForSingleObject(manual, 5))

    assert run(app) == (0, WAIT_TIMEOUT, 0, 0, WAIT_TIMEOUT)


def test_a_wait_ends_when_another_thread_signals(run: Run) -> None:
    def app() -> list[str]:
        order: list[str] = []
        event = CreateEvent(None, 0, 0, None)

        def worker() -> None:
            Sleep(20)
            order.append("signal")
            SetEvent(event)

        CreateThread(None, 0, worker)
        WaitForSingleObject(event, INFINITE)
        order.append("woken")
        return order

    assert run(app) == ["signal", "woken"]


def test_waiting_for_any_gives_the_lowest_index(run: Run) -> None:
    def app() -> tuple[int, int, int]:
        events = [CreateEvent(None, 1, 0, None) for _ in range(8)]
        SetEvent(events[5])
        SetEvent(events[6])
        return (
            WaitForMultipleObjects(events, False, 0),
            WaitForMultipleObjects(events, True, 10),
            WaitForMultipleObjects(events[5:7], True, 10),
        )

    assert run(app) == (WAIT_OBJECT_0 + 5, WAIT_TIMEOUT, WAIT_OBJECT_0)


def test_too_many_handles_are_an_invalid_parameter(run: Run) -> None:
    def app() -> int:
        event = CreateEvent(None, 1, 1, None)
        with pytest.raises(error) as caught:
            WaitForMultipleObjects([event] * 65, False, 0)
        return caught.value.winerror

    assert run(app) == ERROR_INVALID_PARAMETER


def test_named_objects_meet_across_processes(machine: Machine) -> None:
    log: list[Any] = []

    def waiter() -> None:
        event = CreateEvent(None, 1, 0, "Global\\meeting")
        log.append(GetLastError())
        WaitForSingleObject(event, INFINITE)
        log.append("met")

    def signaller() -> None:
        Sleep(30)
        event = OpenEvent(EVENT_MODIFY_STATE, False, "meeting")
        SetEvent(event)

    machine.start(waiter)
    machine.start(signaller)
    machine.run_until_idle()
    assert log == [0, "met"]


def test_a_name_that_exists_is_opened_and_said(run: Run) -> None:
    def app() -> tuple[int, int, int]:
        first = CreateEvent(None, 1, 1, "known")
        second = CreateEvent(None, 1, 0, "known")
        said = GetLastError()
        CloseHandle(first)
        CloseHandle(second)
        with pytest.raises(error) as caught:
            OpenEvent(EVENT_ALL_ACCESS, False, "known")
        CreateEvent(None, 1, 0, "twice")
        with pytest.raises(error) as other:
            CreateMutex(None, False, "twice")
        return said, caught.value.winerror, other.value.winerror

    assert run(app) == (ERROR_ALREADY_EXISTS, ERROR_FILE_NOT_FOUND, ERROR_INVALID_HANDLE)


def test_a_mutex_belongs_to_one_thread(run: Run) -> None:
    def app() -> list[Any]:
        mutex = CreateMutex(None, True, None)
        results: list[Any] = [WaitForSingleObject(mutex, 0)]

        def other() -> None:
            results.append(WaitForSingleObject(mutex, 10))
            with pytest.raises(error) as caught:
                ReleaseMutex(mutex)
            results.append(caught.value.winerror)

        WaitForSingleObject(CreateThread(None, 0, other), INFINITE)
        ReleaseMutex(mutex)
        ReleaseMutex(mutex)
        return results

    assert run(app) == [0, WAIT_TIMEOUT, ERROR_NOT_OWNER]


def test_a_mutex_whose_owner_ended_is_abandoned(run: Run) -> None:
    def app() -> tuple[int, int]:
        mutex = CreateMutex(None, False, None)
        thread = CreateThread(None, 0, lambda: WaitForSingleObject(mutex, INFINITE))
        WaitForSingleObject(thread, INFINITE)
        return WaitForSingleObject(mutex, 100), WaitForSingleObject(mutex, 0)

    assert run(app) == (WAIT_ABANDONED, 0)


def test_a_semaphore_counts(run: Run) -> None:
    def app() -> tuple[Any, ...]:
        semaphore = CreateSemaphore(None, 1, 2, None)
        first = WaitForSingleObject(semaphore, 0), WaitForSingleObject(semaphore, 0)
        before = ReleaseSemaphore(semaphore, 2)
        with pytest.raises(error) as caught:
            ReleaseSemaphore(semaphore, 1)
        return (*first, before, caught.value.winerror)

    assert run(app) == (0, WAIT_TIMEOUT, 0, ERROR_TOO_MANY_POSTS)


def test_sleep_passes_virtual_time(run: Run) -> None:
    def app() -> tuple[int, int]:
        start, counter = GetTickCount64(), QueryPerformanceCounter()
        Sleep(3_600_000)
        passed = QueryPerformanceCounter() - counter
        return GetTickCount64() - start, passed * 1000 // QueryPerformanceFrequency()

    ticks, milliseconds = run(app)
    assert 3_600_000 <= milliseconds < 3_600_050
    assert abs(ticks - 3_600_000) < 50


def test_user_apcs_run_in_an_alertable_wait(run: Run) -> None:
    def app() -> tuple[Any, ...]:
        seen: list[Any] = []
        QueueUserAPC(seen.append, GetCurrentThread(), "queued before")
        plain = SleepEx(5, False)
        early = list(seen)
        alerted = SleepEx(INFINITE, True)
        event = CreateEvent(None, 0, 0, None)
        main = OpenThread(THREAD_ALL_ACCESS, False, GetCurrentThreadId())
        CreateThread(None, 0, lambda: QueueUserAPC(seen.append, main, "from another"))
        waited = WaitForSingleObjectEx(event, INFINITE, True)
        return plain, early, alerted, waited, seen

    expected = ["queued before", "from another"]
    assert run(app) == (0, [], WAIT_IO_COMPLETION, WAIT_IO_COMPLETION, expected)


def test_affinity_chooses_the_processor(run: Run) -> None:
    def app() -> tuple[Any, ...]:
        processors = GetSystemInfo().dwNumberOfProcessors
        before = SetThreadAffinityMask(GetCurrentThread(), 0b10)
        second = GetCurrentProcessorNumber()
        again = SetThreadAffinityMask(GetCurrentThread(), 0b01)
        first = GetCurrentProcessorNumber()
        with pytest.raises(error) as caught:
            SetThreadAffinityMask(GetCurrentThread(), 0b100)
        return processors, before, second, again, first, caught.value.winerror

    assert run(app) == (2, 0b11, 1, 0b10, 0, ERROR_INVALID_PARAMETER)


def test_a_terminated_thread_runs_no_handlers(run: Run) -> None:
    def app() -> tuple[Any, ...]:
        seen: list[str] = []
        never = CreateEvent(None, 1, 0, None)

        def worker() -> None:
            try:
                seen.append("waits")
                WaitForSingleObject(never, INFINITE)
            finally:
                seen.append("finally")

        thread, _ = CreateThread(None, 0, worker)
        Sleep(10)
        TerminateThread(thread, 77)
        waited = WaitForSingleObject(thread, 1000)
        return waited, GetExitCodeThread(thread), list(seen)

    assert run(app) == (0, 77, ["waits"])


def test_exit_thread_ends_only_its_thread(machine: Machine) -> None:
    def app() -> int:
        thread, _ = CreateThread(None, 0, ExitThread, 5)
        WaitForSingleObject(thread, INFINITE)
        return GetExitCodeThread(thread) + 1

    assert machine.run(app).exit_code == 6


def test_sys_exit_in_a_thread_ends_that_thread(run: Run) -> None:
    def app() -> int:
        def worker() -> None:
            raise SystemExit(11)

        thread, _ = CreateThread(None, 0, worker)
        WaitForSingleObject(thread, INFINITE)
        return GetExitCodeThread(thread)

    assert run(app) == 11


def test_the_end_of_main_ends_threads_that_wait(machine: Machine) -> None:
    def app() -> None:
        CreateThread(None, 0, lambda: Sleep(INFINITE))
        Sleep(5)

    process = machine.run(app)
    assert process.exit_code == 0
    assert not process.kernel.threads


def test_a_pending_request_is_cancelled_when_its_process_ends(
    machine: Machine, parrot: Any, codes: SimpleNamespace
) -> None:
    def app() -> None:
        device = parrot()
        CreateThread(None, 0, lambda: DeviceIoControl(device, codes.PEND, b"", 8))
        Sleep(5)

    assert machine.run(app).exit_code == 0
    log = [str(event) for event in machine.events]
    assert any("cancelled" in line for line in log)
    assert any("STATUS_CANCELLED" in line for line in log)


def test_another_process_can_be_terminated(machine: Machine) -> None:
    victim = machine.start(lambda: Sleep(INFINITE))

    def killer() -> tuple[Any, ...]:
        Sleep(10)
        process = OpenProcess(PROCESS_ALL_ACCESS, False, victim.pid)
        before = GetExitCodeProcess(process)
        TerminateProcess(process, 123)
        WaitForSingleObject(process, INFINITE)
        assert (before, GetExitCodeProcess(process)) == (STILL_ACTIVE, 123)

    assert machine.run(killer).exit_code == 0
    assert victim.exit_code == 123


@pytest.mark.parametrize(
    ("routine", "code", "said"),
    [
        (lambda: 1 // 0, 1, "ZeroDivisionError"),
        (lambda: read_bytes(0, 1), 0xC0000005, "STATUS_ACCESS_VIOLATION"),
    ],
)
def test_an_uncaught_error_in_any_thread_ends_the_process(
    machine: Machine, routine: Callable[[], Any], code: int, said: str
) -> None:
    def app() -> None:
        CreateThread(None, 0, routine)
        Sleep(1000)
        print("not reached")

    process = machine.run(app)
    assert process.exit_code == code
    assert said in process.stderr
    assert process.stdout == ""


def test_a_process_can_be_terminated_before_it_has_run(machine: Machine) -> None:
    victim = machine.start(lambda: print("ran"))
    suspended: list[Any] = []

    def app() -> None:
        thread = CreateThread(None, 0, suspended.append, 1, CREATE_SUSPENDED)
        TerminateThread(thread, 4)
        WaitForSingleObject(thread, INFINITE)
        assert GetExitCodeThread(thread) == 4

    victim.kernel.exit_code = None
    assert machine.run(app).exit_code == 0
    assert suspended == []


def test_lambdas_of_one_line_keep_their_own_values(run: Run) -> None:
    def app() -> list[int]:
        seen: list[int] = []
        for i in range(3):
            QueueUserAPC(lambda _, i=i: seen.append(i), GetCurrentThread())
        SleepEx(0, True)
        for i in range(3):
            WaitForSingleObject(CreateThread(None, 0, lambda i=i: seen.append(i)), INFINITE)
        return seen

    assert run(app) == [0, 1, 2, 0, 1, 2]


def test_many_threads_reuse_stacks(run: Run) -> None:
    def app() -> int:
        done = []
        for i in range(50):
            WaitForSingleObject(CreateThread(None, 0, done.append, i), INFINITE)
        return len(done)

    assert run(app) == 50


def test_handles_are_duplicated_within_a_process(run: Run) -> None:
    def app() -> tuple[int, int]:
        event = CreateEvent(None, 1, 0, None)
        me = GetCurrentProcess()
        twin = DuplicateHandle(me, event, me, 0, False, DUPLICATE_SAME_ACCESS)
        CloseHandle(event)
        SetEvent(twin)
        weak = DuplicateHandle(me, twin, me, SYNCHRONIZE, False, 0)
        with pytest.raises(error) as caught:
            SetEvent(weak)
        return WaitForSingleObject(weak, 0), caught.value.winerror

    assert run(app) == (0, ERROR_ACCESS_DENIED)
