"""System threads: how they start, where they end, and what they must not leave behind."""

import pytest

from ntsim.wdm import *


def start(routine, context: int = 0):
    """A referenced thread object."""
    status, handle = PsCreateSystemThread(THREAD_ALL_ACCESS, NULL, NULL, NULL, routine, context)
    assert status == STATUS_SUCCESS
    status, thread = ObReferenceObjectByHandle(handle, THREAD_ALL_ACCESS, NULL, KernelMode, NULL)
    assert status == STATUS_SUCCESS
    ZwClose(handle)
    return thread


def join(thread) -> int:
    return KeWaitForSingleObject(thread, Executive, KernelMode, FALSE, NULL)


def test_a_thread_runs_and_can_be_waited_for(value_of) -> None:
    seen = []

    def routine(context) -> None:
        seen.append((context, KeGetCurrentIrql(), PsGetCurrentProcessId()))
        seen.append((ExGetPreviousMode(), PsIsSystemThread(PsGetCurrentThread())))

    def work() -> list[int]:
        thread = start(routine, 0x1234)
        return [join(thread), PsGetThreadExitStatus(cast(thread, ETHREAD))]

    assert value_of(work) == [0, 0]
    assert seen == [(0x1234, 0, 4), (0, True)]


def test_terminating_deep_inside_runs_nothing_behind_it(value_of) -> None:
    seen = []

    def deep(level: int) -> None:
        if level:
            deep(level - 1)
            seen.append("came back")
        PsTerminateSystemThread(0x1234)
        seen.append("went on")

    def work() -> list[int]:
        thread = start(lambda context: deep(5))
        join(thread)
        return [PsGetThreadExitStatus(cast(thread, ETHREAD))]

    assert value_of(work) == [0x1234]
    assert seen == []


def test_an_exit_status_is_pending_while_the_thread_lives(value_of) -> None:
    def work() -> list[object]:
        go = KEVENT()
        KeInitializeEvent(go, NotificationEvent, FALSE)
        thread = start(
            lambda context: KeWaitForSingleObject(go, Executive, KernelMode, FALSE, NULL)
        )
        ethread = cast(thread, ETHREAD)
        found = [PsGetThreadExitStatus(ethread), PsIsThreadTerminating(ethread)]
        KeSetEvent(go, 0, FALSE)
        join(thread)
        return [*found, PsGetThreadExitStatus(ethread), PsIsThreadTerminating(ethread)]

    assert value_of(work) == [STATUS_PENDING, False, 0, True]


def test_a_kernel_handle_belongs_to_the_system_process(value_of) -> None:
    def work() -> list[bool]:
        attributes = OBJECT_ATTRIBUTES()
        attributes.Attributes = OBJ_KERNEL_HANDLE
        client = CLIENT_ID()
        status, handle = PsCreateSystemThread(
            THREAD_ALL_ACCESS, attributes, NULL, client, lambda context: None, NULL
        )
        return [
            status == 0,
            handle >> 31 == 0x1FFFFFFFF,
            client.UniqueProcess == 4,
            client.UniqueThread % 4 == 0,
            ZwClose(handle) == 0,
            ZwClose(handle) == STATUS_INVALID_HANDLE,
        ]

    assert value_of(work) == [True] * 6


def test_an_uncaught_exception_in_a_system_thread_bugchecks_0x7e(bugcheck_of) -> None:
    stop = bugcheck_of(lambda: join(start(lambda context: read_bytes(0x1000, 1))))
    assert (stop.code, stop.parameters[0]) == (0x7E, STATUS_ACCESS_VIOLATION)


@pytest.mark.parametrize(
    ("leave", "parameters"),
    [
        (lambda: KeEnterCriticalRegion(), (0, 0xFFFF, 0, 0)),
        (lambda: KeEnterGuardedRegion(), (0, 0xFFFF0000, 0, 0)),
        (lambda: KeRaiseIrql(DISPATCH_LEVEL), (0, 0, 2, 0)),
    ],
)
def test_ending_with_apcs_disabled_or_at_raised_irql_bugchecks_0x20(
    bugcheck_of, leave, parameters
) -> None:
    stop = bugcheck_of(lambda: join(start(lambda context: leave())))
    assert (stop.code, stop.parameters) == (0x20, parameters)


def test_ending_with_a_mutex_bugchecks_0x4000008a(bugcheck_of) -> None:
    mutexes = []

    def work() -> None:
        mutex = KMUTEX()
        KeInitializeMutex(mutex, 0)
        mutexes.append(int(mutex))

        def routine(context) -> None:
            KeWaitForSingleObject(mutex, Executive, KernelMode, FALSE, NULL)
            PsTerminateSystemThread(0)

        join(start(routine))

    stop = bugcheck_of(work)
    assert (stop.code, stop.parameters[1]) == (0x4000008A, mutexes[0])


def test_many_threads_come_and_go(value_of) -> None:
    def work() -> int:
        total = [0]

        def routine(context) -> None:
            total[0] += context
            if context & 1:
                PsTerminateSystemThread(0)

        for i in range(200):
            thread = start(routine, i)
            join(thread)
            ObDereferenceObject(thread)
        return total[0]

    assert value_of(work, processors=2) == sum(range(200))


def test_what_abandoned_frames_do_when_the_machine_closes_changes_nothing(run_driver) -> None:
    """A `finally` block of an ended thread runs at close, on a machine that is dead."""

    def routine(context) -> None:
        try:
            PsTerminateSystemThread(0)
        finally:
            raise ValueError("too late")

    done = run_driver(lambda: join(start(routine)))
    done.machine.close()
    assert done.machine.bugcheck is None
