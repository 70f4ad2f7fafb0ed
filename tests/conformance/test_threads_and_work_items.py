"""Threads and work items, as public kernel test suites assert them on Windows."""

from ntsim.wdm import *


def test_no_thread_has_id_zero(value_of) -> None:
    """Wine, dlls/ntoskrnl.exe/tests/driver.c, test_lookup_thread."""
    assert value_of(lambda: PsLookupThreadByThreadId(NULL)[0]) == STATUS_INVALID_CID


def test_a_system_thread_has_kernel_previous_mode(value_of) -> None:
    """Wine, dlls/ntoskrnl.exe/tests/driver.c, test_current_thread."""

    def work() -> list[int]:
        modes = []
        _, handle = PsCreateSystemThread(
            THREAD_ALL_ACCESS, NULL, NULL, NULL, lambda _: modes.append(ExGetPreviousMode()), NULL
        )
        _, thread = ObReferenceObjectByHandle(handle, 0, NULL, KernelMode, NULL)
        KeWaitForSingleObject(thread, Executive, KernelMode, FALSE, NULL)
        return modes

    assert value_of(work) == [KernelMode]


def test_a_running_thread_and_process_are_not_signalled(value_of) -> None:
    """Wine, dlls/ntoskrnl.exe/tests/driver.c, test_current_thread: a poll is STATUS_TIMEOUT."""

    def work() -> list[int]:
        now = LARGE_INTEGER()
        objects = (PsGetCurrentThread(), IoGetCurrentProcess())
        return [KeWaitForSingleObject(o, Executive, KernelMode, FALSE, now) for o in objects]

    assert value_of(work) == [STATUS_TIMEOUT, STATUS_TIMEOUT]


def test_work_items_run_in_the_system_process(value_of) -> None:
    """Wine, dlls/ntoskrnl.exe/tests/driver.c, test_current_thread."""

    def work(driver, path) -> list[bool]:
        seen, done = [], KEVENT()
        KeInitializeEvent(done, NotificationEvent, FALSE)
        _, device = IoCreateDevice(driver, 0, NULL, FILE_DEVICE_UNKNOWN, 0, FALSE)
        _, system = PsLookupProcessByProcessId(4)

        def routine(object_, context) -> None:
            seen.append(IoGetCurrentProcess() == system)
            KeSetEvent(done, 0, FALSE)

        IoQueueWorkItem(IoAllocateWorkItem(device), routine, DelayedWorkQueue, NULL)
        KeWaitForSingleObject(done, Executive, KernelMode, FALSE, NULL)
        return seen

    assert value_of(work) == [True]
