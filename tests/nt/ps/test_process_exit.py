"""What a process must not leave behind, and in what state drivers are loaded and unloaded."""

import pytest

from ntsim import win32
from ntsim.wdm import *

DIRECT = CTL_CODE(FILE_DEVICE_UNKNOWN, 0x801, METHOD_OUT_DIRECT, FILE_ANY_ACCESS)
NEITHER = CTL_CODE(FILE_DEVICE_UNKNOWN, 0x802, METHOD_NEITHER, FILE_ANY_ACCESS)
PAGE = 0x1000


def complete(Irp) -> int:
    Irp.IoStatus.Status = STATUS_SUCCESS
    Irp.IoStatus.Information = 0
    IoCompleteRequest(Irp, IO_NO_INCREMENT)
    return STATUS_SUCCESS


def send(code: int) -> None:
    """Send a control code with three pages of user memory."""
    handle = win32.CreateFile("\\\\.\\Thing", win32.GENERIC_READ, 0, None, 3, 0, None)
    memory = win32.VirtualAlloc(0, 3 * PAGE, win32.MEM_COMMIT, win32.PAGE_READWRITE)
    win32.DeviceIoControl(handle, code, None, (memory, 3 * PAGE))


def test_a_process_that_ends_with_locked_pages_bugchecks_0x76(crash_of) -> None:
    """Parameters: 0, the process, how many pages."""
    seen = []

    def lock(DeviceObject, Irp) -> int:
        location = IoGetCurrentIrpStackLocation(Irp)
        length = location.Parameters.DeviceIoControl.OutputBufferLength
        mdl = IoAllocateMdl(Irp.UserBuffer, length, FALSE, FALSE, NULL)
        MmProbeAndLockPages(mdl, UserMode, IoWriteAccess)
        seen.append(int(PsGetCurrentProcess()))
        return complete(Irp)

    stop, _ = crash_of(lambda: send(NEITHER), device_control=lock)
    assert (stop.code, stop.parameters[:3]) == (0x76, (0, seen[0], 3))


def test_the_io_manager_unlocks_what_it_locked(run_app) -> None:
    seen = []

    def look(DeviceObject, Irp) -> int:
        seen.append(PsGetCurrentProcess().NumberOfLockedPages)
        return complete(Irp)

    run_app(lambda: send(DIRECT), device_control=look)
    assert seen == [3]


def test_a_locked_user_buffer_can_be_written_at_dispatch_level_through_its_mapping(
    run_app,
) -> None:
    def write(DeviceObject, Irp) -> int:
        window = MmGetSystemAddressForMdlSafe(Irp.MdlAddress, NormalPagePriority)
        old = KeRaiseIrqlToDpcLevel()
        write_bytes(window + PAGE - 2, b"over")
        KeLowerIrql(old)
        return complete(Irp)

    def app() -> bytes:
        handle = win32.CreateFile("\\\\.\\Thing", win32.GENERIC_READ, 0, None, 3, 0, None)
        buffer = bytearray(3 * PAGE)
        win32.DeviceIoControl(handle, DIRECT, None, buffer)
        return bytes(buffer[PAGE - 2 : PAGE + 2])

    assert run_app(app, device_control=write).value == b"over"


def test_touching_user_memory_of_the_wrong_process_is_not_what_was_meant(run_app) -> None:
    """In another process the same address is something else, or nothing."""
    seen = []

    def later(DeviceObject, Irp) -> int:
        address = int(Irp.UserBuffer)
        done = KEVENT()
        KeInitializeEvent(done, NotificationEvent, FALSE)

        def worker(Context) -> None:
            try:
                read_bytes(address, 1)
            except StructuredException as e:
                seen.append(e.ExceptionCode)
            KeSetEvent(done, 0, FALSE)

        PsCreateSystemThread(0, NULL, NULL, NULL, worker, NULL)
        KeWaitForSingleObject(done, Executive, KernelMode, FALSE, NULL)
        return complete(Irp)

    run_app(lambda: send(NEITHER), device_control=later)
    assert seen == [STATUS_ACCESS_VIOLATION]


@pytest.mark.parametrize("level", [APC_LEVEL, DISPATCH_LEVEL, HIGH_LEVEL])
def test_driver_entry_that_returns_at_raised_irql_bugchecks_0xe1(ntsim_machine, level) -> None:
    """WORKER_THREAD_RETURNED_AT_BAD_IRQL: drivers are loaded by a worker thread."""
    machine = ntsim_machine()
    with pytest.raises(Exception, match="e1") as caught:
        machine.load_driver(lambda d, r: KfRaiseIrql(level) * 0, name="drv.sys")
    assert (caught.value.code, caught.value.parameters[1]) == (0xE1, level)


def test_a_kernel_thread_that_ends_at_raised_irql_bugchecks(bugcheck_of) -> None:
    def body() -> None:
        interval = LARGE_INTEGER()
        interval.QuadPart = -1000
        PsCreateSystemThread(
            0, NULL, NULL, NULL, lambda context: KfRaiseIrql(DISPATCH_LEVEL) and None, NULL
        )
        KeDelayExecutionThread(KernelMode, FALSE, interval)

    stop = bugcheck_of(body)
    assert stop.name == "KERNEL_APC_PENDING_DURING_EXIT"
    assert stop.parameters[2] == DISPATCH_LEVEL
