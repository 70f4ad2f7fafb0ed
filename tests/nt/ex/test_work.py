"""Work items and the system worker threads that run them."""

import pytest

from ntsim.wdm import *

TAG = 0x74736554


def device(driver):
    status, made = IoCreateDevice(driver, 0, NULL, FILE_DEVICE_UNKNOWN, 0, FALSE)
    assert status == STATUS_SUCCESS
    return made


def test_a_work_item_runs_at_passive_level_in_the_system_process(run_driver) -> None:
    """Work items run in the System process (Wine ntoskrnl tests, test_current_thread)."""
    seen = []

    def work(driver, path) -> None:
        done = KEVENT()
        KeInitializeEvent(done, NotificationEvent, FALSE)
        target = device(driver)
        item = IoAllocateWorkItem(target)

        def routine(object_, context) -> None:
            process = PsGetCurrentProcessId()
            thread = IoGetCurrentProcess().ImageFileName
            seen.append((object_ == target, context, KeGetCurrentIrql(), process))
            seen.append((ExGetPreviousMode(), read_bytes(thread, 6)))
            KeSetEvent(done, 0, FALSE)

        old = KeRaiseIrqlToDpcLevel()
        IoQueueWorkItem(item, routine, DelayedWorkQueue, 0x55)
        KeLowerIrql(old)
        KeWaitForSingleObject(done, Executive, KernelMode, FALSE, NULL)
        IoFreeWorkItem(item)

    done = run_driver(work)
    assert seen == [(True, 0x55, 0, 4), (0, b"System")]
    started = [e for e in done.machine.events if type(e).__name__ == "WorkItemStarted"]
    assert [e.routine.partition("!")[0] for e in started] == ["drv"]


@pytest.mark.parametrize("processors", [1, 4])
def test_an_item_may_wait_for_one_behind_it(run_driver, processors) -> None:
    order = []

    def work(driver, path) -> None:
        target, go, done = device(driver), KEVENT(), KEVENT()
        for event in (go, done):
            KeInitializeEvent(event, NotificationEvent, FALSE)

        def waits(object_, context) -> None:
            KeWaitForSingleObject(go, Executive, KernelMode, FALSE, NULL)
            order.append("first")
            KeSetEvent(done, 0, FALSE)

        def signals(object_, context) -> None:
            order.append("second")
            KeSetEvent(go, 0, FALSE)

        for routine in (waits, signals):
            IoQueueWorkItem(IoAllocateWorkItem(target), routine, DelayedWorkQueue, NULL)
        KeWaitForSingleObject(done, Executive, KernelMode, FALSE, NULL)

    run_driver(work, processors=processors)
    assert order == ["second", "first"]


def test_a_higher_queue_goes_first(run_driver) -> None:
    order = []

    def work(driver, path) -> None:
        target, done = device(driver), KEVENT()
        KeInitializeEvent(done, NotificationEvent, FALSE)

        def routine(object_, context) -> None:
            order.append(context)
            if context == NormalWorkQueue:
                KeSetEvent(done, 0, FALSE)

        old = KeRaiseIrqlToDpcLevel()
        for queue in (NormalWorkQueue, DelayedWorkQueue, CriticalWorkQueue, HyperCriticalWorkQueue):
            IoQueueWorkItem(IoAllocateWorkItem(target), routine, queue, queue)
        KeLowerIrql(old)
        KeWaitForSingleObject(done, Executive, KernelMode, FALSE, NULL)

    run_driver(work, processors=1)
    assert order == [2, 0, 1, 3]


def test_the_extended_routine_gets_its_item_and_may_free_it(run_driver) -> None:
    seen = []

    def work(driver, path) -> None:
        target, done = device(driver), KEVENT()
        KeInitializeEvent(done, NotificationEvent, FALSE)
        item = IoAllocateWorkItem(target)

        def routine(object_, context, work_item) -> None:
            seen.append((object_ == target, context, work_item == item))
            IoFreeWorkItem(work_item)
            KeSetEvent(done, 0, FALSE)

        IoQueueWorkItemEx(item, routine, DelayedWorkQueue, 7)
        KeWaitForSingleObject(done, Executive, KernelMode, FALSE, NULL)

    run_driver(work)
    assert seen == [(True, 7, True)]


def test_the_device_is_referenced_until_the_routine_has_returned(run_driver) -> None:
    counts = []

    def work(driver, path) -> None:
        target, done, go = device(driver), KEVENT(), KEVENT()
        for event in (go, done):
            KeInitializeEvent(event, NotificationEvent, FALSE)
        item = IoAllocateWorkItem(target)

        def count() -> int:
            ObReferenceObject(target)
            return ObDereferenceObject(target)

        def routine(object_, context) -> None:
            counts.append(count())
            KeWaitForSingleObject(go, Executive, KernelMode, FALSE, NULL)
            KeSetEvent(done, 0, FALSE)

        counts.append(count())
        IoQueueWorkItem(item, routine, DelayedWorkQueue, NULL)
        counts.append(count())
        KeSetEvent(go, 0, FALSE)
        KeWaitForSingleObject(done, Executive, KernelMode, FALSE, NULL)
        interval = LARGE_INTEGER()
        interval.QuadPart = -100_000
        KeDelayExecutionThread(KernelMode, FALSE, interval)
        counts.append(count())

    run_driver(work)
    assert sorted(counts) == [1, 1, 2, 2]


def test_executive_work_items(run_driver) -> None:
    seen = []

    def work() -> None:
        done = KEVENT()
        KeInitializeEvent(done, NotificationEvent, FALSE)
        item = cast(ExAllocatePoolWithTag(NonPagedPool, 32, TAG), WORK_QUEUE_ITEM)

        def routine(parameter) -> None:
            seen.append(parameter)
            KeSetEvent(done, 0, FALSE)

        ExInitializeWorkItem(item, routine, 0x99)
        ExQueueWorkItem(item, CriticalWorkQueue)
        KeWaitForSingleObject(done, Executive, KernelMode, FALSE, NULL)
        seen.append(int(item.List.Flink))

    run_driver(work)
    assert seen == [0x99, 0]


def run_bad(routine):
    """DriverEntry that queues `routine` and waits for the bug check."""

    def work(driver, path) -> None:
        IoQueueWorkItem(IoAllocateWorkItem(device(driver)), routine, DelayedWorkQueue, 0x66)
        interval = LARGE_INTEGER()
        interval.QuadPart = -10_000_000
        KeDelayExecutionThread(KernelMode, FALSE, interval)

    return work


def test_returning_at_raised_irql_bugchecks_0xe1(bugcheck_of) -> None:
    stop = bugcheck_of(run_bad(lambda device, context: KeRaiseIrql(APC_LEVEL)))
    routine, irql, parameter, item = stop.parameters
    assert (stop.code, irql) == (0xE1, 1)
    assert parameter == item
    assert routine > 0xFFFF800000000000


def test_returning_with_apcs_disabled_bugchecks_0x1_with_call_type_1(bugcheck_of) -> None:
    stop = bugcheck_of(run_bad(lambda device, context: KeEnterCriticalRegion()))
    assert (stop.code, stop.parameters[1:]) == (0x1, (0, 0xFFFF, 1))


def test_an_unhandled_exception_in_a_worker_bugchecks_0x7e(bugcheck_of) -> None:
    stop = bugcheck_of(run_bad(lambda device, context: ExRaiseStatus(STATUS_IN_PAGE_ERROR)))
    assert (stop.code, stop.parameters[0]) == (0x7E, STATUS_IN_PAGE_ERROR)


def test_queueing_a_queued_item_bugchecks_0xe4(bugcheck_of) -> None:
    def work(driver, path) -> None:
        item = IoAllocateWorkItem(device(driver))
        KeRaiseIrqlToDpcLevel()
        for _ in range(2):
            IoQueueWorkItem(item, lambda device, context: None, DelayedWorkQueue, NULL)

    stop = bugcheck_of(work, processors=1)
    assert (stop.code, stop.parameters[0], stop.parameters[2:]) == (0xE4, 1, (1, 0))


def test_freeing_a_queued_item_bugchecks_0xe4(bugcheck_of) -> None:
    def work(driver, path) -> None:
        item = IoAllocateWorkItem(device(driver))
        KeRaiseIrqlToDpcLevel()
        IoQueueWorkItem(item, lambda device, context: None, DelayedWorkQueue, NULL)
        IoFreeWorkItem(item)

    stop = bugcheck_of(work, processors=1)
    assert (stop.code, stop.parameters[0], stop.parameters[3]) == (0xE4, 2, 0)


@pytest.mark.parametrize("queue", [7, 31, 64])
def test_a_queue_that_is_none_bugchecks_0xe4(bugcheck_of, queue) -> None:
    def work(driver, path) -> None:
        item = IoAllocateWorkItem(device(driver))
        IoQueueWorkItem(item, lambda device, context: None, queue, NULL)

    stop = bugcheck_of(work)
    assert (stop.code, stop.parameters[0], stop.parameters[2:]) == (0xE4, 6, (queue, 0))


def test_an_item_of_no_object_bugchecks_0xe4(bugcheck_of) -> None:
    stop = bugcheck_of(lambda: IoAllocateWorkItem(ExAllocatePoolWithTag(NonPagedPool, 64, TAG)))
    assert (stop.code, stop.parameters[0]) == (0xE4, 3)


def test_initializing_a_queued_item_again_bugchecks_0x96(bugcheck_of) -> None:
    def work() -> None:
        item = cast(ExAllocatePoolWithTag(NonPagedPool, 32, TAG), WORK_QUEUE_ITEM)
        old = KeRaiseIrqlToDpcLevel()
        ExInitializeWorkItem(item, lambda parameter: None, NULL)
        ExQueueWorkItem(item, DelayedWorkQueue)
        ExInitializeWorkItem(item, lambda parameter: None, NULL)
        KeLowerIrql(old)
        interval = LARGE_INTEGER()
        interval.QuadPart = -10_000_000
        KeDelayExecutionThread(KernelMode, FALSE, interval)

    stop = bugcheck_of(work, processors=1)
    assert stop.code == 0x96


def test_a_worker_may_not_terminate_itself(bugcheck_of) -> None:
    stop = bugcheck_of(run_bad(lambda device, context: PsTerminateSystemThread(0)))
    assert stop.code == 0xE9


def test_an_item_of_a_null_device_in_a_dpc_is_a_page_fault_of_the_kernel(bugcheck_of) -> None:
    """IoAllocateWorkItem reads the object's Type. Source: cheat-engine issue 1237."""

    def raised() -> None:
        KeRaiseIrqlToDpcLevel()
        IoAllocateWorkItem(NULL)

    stop = bugcheck_of(raised)
    assert (stop.code, stop.parameters[:3]) == (0xA, (0, 2, 0))
