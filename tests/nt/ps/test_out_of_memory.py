"""Threads when physical memory is used up: an error for the caller, and nothing half made."""

import pytest

from ntsim.errors import ConfigurationError
from ntsim.wdm import *
from ntsim.win32 import (
    ERROR_NOT_ENOUGH_MEMORY,
    WAIT_OBJECT_0,
    CreateThread,
    DeviceIoControl,
    GetExitCodeThread,
    WaitForSingleObject,
    error,
)
from tests.conftest import IOCTL_BUFFERED, complete, open_thing


def use_all_memory() -> list[int]:
    """Blocks of nonpaged pool until there are no more, large ones first."""
    blocks: list[int] = []
    for size in (1 << 20, 1 << 16, 1 << 12):
        while block := ExAllocatePoolWithTag(NonPagedPool, size, 0x206C6C41):
            blocks.append(int(block))
    return blocks


def nothing(context: int) -> None:
    pass


def test_a_system_thread_needs_memory_and_its_failure_leaves_nothing(value_of) -> None:
    def body() -> list[object]:
        blocks = use_all_memory()
        failed, handle = PsCreateSystemThread(THREAD_ALL_ACCESS, NULL, NULL, NULL, nothing, NULL)
        threads = IoGetCurrentProcess().ActiveThreads
        for block in blocks:
            ExFreePool(block)
        again, made = PsCreateSystemThread(THREAD_ALL_ACCESS, NULL, NULL, NULL, nothing, NULL)
        more = IoGetCurrentProcess().ActiveThreads - threads
        ZwClose(made)
        return [failed, int(handle), again, more]

    assert value_of(body, memory_mb=20) == [STATUS_INSUFFICIENT_RESOURCES, 0, STATUS_SUCCESS, 1]


def test_a_machine_without_memory_for_its_own_thread_says_what_to_do(ntsim_machine) -> None:
    machine = ntsim_machine(memory_mb=20)

    def DriverEntry(DriverObject, RegistryPath) -> int:
        DriverObject.DriverUnload = nothing
        use_all_memory()
        return STATUS_SUCCESS

    driver = machine.load_driver(DriverEntry)
    with pytest.raises(ConfigurationError, match="memory_mb"):
        machine.unload_driver(driver)


def test_threads_of_an_app_fail_with_an_error_and_come_back_with_the_memory(run_app) -> None:
    kept: list[int] = []

    def take_or_give_back(DeviceObject, Irp) -> int:
        if kept:
            while kept:
                ExFreePool(kept.pop())
        else:
            kept.extend(use_all_memory())
        return complete(Irp)

    def app() -> list[object]:
        device = open_thing()
        DeviceIoControl(device, IOCTL_BUFFERED, None, 0)
        with pytest.raises(error) as failed:
            CreateThread(None, 0, lambda: 7, None, 0)
        DeviceIoControl(device, IOCTL_BUFFERED, None, 0)
        thread, _ = CreateThread(None, 0, lambda: 7, None, 0)
        waited = WaitForSingleObject(thread, 1000)
        return [failed.value.winerror, waited, GetExitCodeThread(thread)]

    ran = run_app(app, {"memory_mb": 20}, device_control=take_or_give_back)
    assert ran.value == [ERROR_NOT_ENOUGH_MEMORY, WAIT_OBJECT_0, 7]
