"""WHY, for IRPs, pool, waits, counts and levels used wrongly."""

import pytest

from tests.watch.conftest import Crash, steps


def test_a_second_completion_names_the_first(crash: Crash) -> None:
    report = crash(
        """\
        def read(DeviceObject, Irp):
            IofCompleteRequest(Irp, IO_NO_INCREMENT)
            IofCompleteRequest(Irp, IO_NO_INCREMENT)

        def DriverEntry(DriverObject, RegistryPath):
            status, device = IoCreateDevice(DriverObject, 0, NULL, FILE_DEVICE_UNKNOWN, 0, FALSE)
            DriverObject.MajorFunction[IRP_MJ_READ] = read
            irp = IoAllocateIrp(1, FALSE)
            IoGetNextIrpStackLocation(irp).MajorFunction = IRP_MJ_READ
            IofCallDriver(device, irp)
        """
    )
    assert report.code == 0x44
    assert report.summary == (
        "An IRP was completed twice: first at bad.py:4 read, then at bad.py:5 read."
    )
    sent, first, second, _ = steps(report)
    assert sent.endswith(r"(IRP_MJ_READ) was sent to \Driver\bad.")
    assert "was completed with STATUS_SUCCESS" in first
    assert second.startswith("bad.py:5 read: IRP")


def test_an_irp_without_a_stack_location_left_says_how_many_it_had(crash: Crash) -> None:
    report = crash(
        """\
        def read(DeviceObject, Irp):
            return IofCallDriver(DeviceObject, Irp)

        def DriverEntry(DriverObject, RegistryPath):
            status, device = IoCreateDevice(DriverObject, 0, NULL, FILE_DEVICE_UNKNOWN, 0, FALSE)
            DriverObject.MajorFunction[IRP_MJ_READ] = read
            irp = IoAllocateIrp(1, FALSE)
            IoGetNextIrpStackLocation(irp).MajorFunction = IRP_MJ_READ
            IofCallDriver(device, irp)
        """
    )
    assert report.code == 0x35
    assert "made with StackCount 1" in report.why[-2].text


def test_a_second_free_names_the_first(crash: Crash) -> None:
    report = crash(
        """\
        def DriverEntry(DriverObject, RegistryPath):
            p = ExAllocatePoolWithTag(NonPagedPool, 100, 0x31323334)
            ExFreePoolWithTag(p, 0x31323334)
            ExFreePoolWithTag(p, 0x31323334)
        """
    )
    assert report.code == 0xC2
    assert report.summary == (
        "A pool block was freed twice: first at bad.py:5 DriverEntry, then at bad.py:6 DriverEntry."
    )
    assert report.bucket == "0xC2_7_bad!DriverEntry"


def test_an_overrun_names_the_block_before_the_broken_header(crash: Crash) -> None:
    report = crash(
        """\
        def DriverEntry(DriverObject, RegistryPath):
            p = ExAllocatePoolWithTag(NonPagedPool, 100, 0x31323334)
            write_bytes(p, b"A" * 130)
            ExFreePoolWithTag(p, 0x31323334)
        """
    )
    assert report.code == 0x19
    assert "past the end of the block allocated at bad.py:4 DriverEntry" in report.summary
    assert "41 41 41 41" in report.why[-2].text


def test_freeing_the_middle_of_a_block_is_no_overrun(crash: Crash) -> None:
    report = crash(
        """\
        def DriverEntry(DriverObject, RegistryPath):
            p = ExAllocatePoolWithTag(NonPagedPool, 100, 0x31323334)
            ExFreePoolWithTag(p + 16, 0x31323334)
        """
    )
    assert report.code == 0x19
    assert report.summary.startswith("The middle of a block was freed, at bad.py:5 DriverEntry")


def test_a_wait_in_a_dpc_names_the_dpc_and_the_wait(crash: Crash) -> None:
    report = crash(
        """\
        Dpc = KDPC()
        Event = KEVENT()

        def routine(Dpc, Context, Argument1, Argument2):
            KeWaitForSingleObject(Event, Executive, KernelMode, FALSE, NULL)

        def DriverEntry(DriverObject, RegistryPath):
            KeInitializeEvent(Event, NotificationEvent, FALSE)
            KeInitializeDpc(Dpc, routine, NULL)
            KeInsertQueueDpc(Dpc, NULL, NULL)
        """
    )
    assert report.code == 0xB8
    assert report.summary.startswith("A wait at bad.py:7 routine where the dispatcher cannot run")


def test_a_dpc_at_the_wrong_level_is_blamed_though_it_has_returned(crash: Crash) -> None:
    report = crash(
        """\
        Dpc = KDPC()

        def routine(Dpc, Context, Argument1, Argument2):
            KeLowerIrql(PASSIVE_LEVEL)

        def DriverEntry(DriverObject, RegistryPath):
            KeInitializeDpc(Dpc, routine, NULL)
            KeInsertQueueDpc(Dpc, NULL, NULL)
        """
    )
    assert (report.code, report.symbol_name) == (0xC8, "bad!routine")
    assert any(each.startswith("bad.py:6 routine: KeLowerIrql") for each in steps(report))


def test_a_thread_that_ends_at_raised_irql_names_the_raise(crash: Crash) -> None:
    report = crash(
        """\
        def worker(Context):
            old = KeRaiseIrqlToDpcLevel()
            if Context:
                KeLowerIrql(old)
            PsTerminateSystemThread(STATUS_SUCCESS)

        def DriverEntry(DriverObject, RegistryPath):
            PsCreateSystemThread(HANDLE(), 0, NULL, NULL, NULL, worker, NULL)
            return STATUS_SUCCESS
        """
    )
    assert report.code == 0x20
    assert steps(report)[0] == (
        "bad.py:4 worker: KeRaiseIrqlToDpcLevel raised the IRQL from PASSIVE_LEVEL (0) to "
        "DISPATCH_LEVEL (2). Nothing lowered it again. worker would at line 6; that has not "
        "happened."
    )


def test_a_thread_that_ends_in_a_critical_region_names_where_it_entered(crash: Crash) -> None:
    report = crash(
        """\
        def worker(Context):
            KeEnterCriticalRegion()
            KeLeaveCriticalRegion()
            KeEnterCriticalRegion()
            PsTerminateSystemThread(STATUS_SUCCESS)

        def DriverEntry(DriverObject, RegistryPath):
            PsCreateSystemThread(HANDLE(), 0, NULL, NULL, NULL, worker, NULL)
            return STATUS_SUCCESS
        """
    )
    assert report.code == 0x20
    assert "KeEnterCriticalRegion at bad.py:6 worker has no counterpart" in report.summary


def test_a_stack_restored_after_its_frame_returned_says_so(crash: Crash) -> None:
    report = crash(
        """\
        def DriverEntry(DriverObject, RegistryPath):
            slot = ExAllocatePoolWithTag(NonPagedPool, 8, 0x31323334)
            save_stack(slot, lambda: 0)
            restore_stack(slot, 0)
        """
    )
    assert report.code == 0x139
    assert report.summary.endswith("its frame has returned.")
    assert [step.where for step in report.why[:2]] == [
        "bad.py:5 DriverEntry", "bad.py:6 DriverEntry",
    ]  # fmt: skip


def test_endless_recursion_is_a_used_up_kernel_stack(crash: Crash) -> None:
    report = crash(
        """\
        def DriverEntry(DriverObject, RegistryPath):
            return DriverEntry(DriverObject, RegistryPath)
        """
    )
    assert (report.code, report.arguments[0].value) == (0x7F, 8)
    assert report.summary.startswith("The kernel stack was used up")


def test_an_error_in_a_dpc_is_told_at_its_own_line(crash: Crash) -> None:
    report = crash(
        """\
        Dpc = KDPC()

        def routine(Dpc, Context, Argument1, Argument2):
            return {}["x"]

        def DriverEntry(DriverObject, RegistryPath):
            KeInitializeDpc(Dpc, routine, NULL)
            KeInsertQueueDpc(Dpc, NULL, NULL)
        """
    )
    assert report.code == 0x1E
    assert report.summary == "KeyError: 'x', unhandled in a DPC, in bad.py:6 routine."
    assert steps(report)[2].startswith("bad.py:6 routine: KeyError")


@pytest.mark.parametrize("code", [0xDEAD, 0xE2])
def test_a_driver_that_calls_kebugcheckex_is_named(crash: Crash, code: int) -> None:
    report = crash(
        f"""\
        def DriverEntry(DriverObject, RegistryPath):
            KeBugCheckEx({code:#x}, 1, 2, 3, 4)
        """
    )
    assert report.code == code
    assert report.summary.startswith("bad!DriverEntry+0x8 called KeBugCheckEx at bad.py:4")
    assert [each.value for each in report.arguments] == [1, 2, 3, 4]


def test_a_second_removal_names_the_neighbour_that_does_not_point_back(crash: Crash) -> None:
    report = crash(
        """\
        Head, Entry = LIST_ENTRY(), LIST_ENTRY()

        def DriverEntry(DriverObject, RegistryPath):
            InitializeListHead(Head)
            InsertTailList(Head, Entry)
            RemoveEntryList(Entry)
            RemoveEntryList(Entry)
        """
    )
    assert report.code == 0x139
    assert "noticed at bad.py:9 DriverEntry: it is no longer in the list" in report.summary
    assert "Flink of the entry before it" in report.why[-2].text


def test_a_resource_in_freed_memory_is_traced_to_the_free(crash: Crash) -> None:
    report = crash(
        """\
        def DriverEntry(DriverObject, RegistryPath):
            lost = cast(ExAllocatePoolZero(NonPagedPoolNx, 0x200, 0x31323334), PERESOURCE)
            other = cast(ExAllocatePoolZero(NonPagedPoolNx, 0x200, 0x31323334), PERESOURCE)
            ExInitializeResourceLite(lost)
            ExInitializeResourceLite(other)
            ExFreePoolWithTag(lost, 0x31323334)
            again = ExAllocatePoolZero(NonPagedPoolNx, 0x200, 0x35363738)
            ExDeleteResourceLite(other)
        """
    )
    assert report.code == 0x139
    assert report.summary == (
        "The list of all ERESOURCEs is corrupt, noticed at bad.py:10 DriverEntry: memory with a "
        "resource in it was freed at bad.py:8 DriverEntry, without ExDeleteResourceLite."
    )


def test_a_resource_released_by_another_thread_names_its_owner(crash: Crash) -> None:
    report = crash(
        """\
        Resource = ERESOURCE()

        def thread(Context):
            ExReleaseResourceLite(Resource)

        def DriverEntry(DriverObject, RegistryPath):
            ExInitializeResourceLite(Resource)
            KeEnterCriticalRegion()
            ExAcquireResourceExclusiveLite(Resource, TRUE)
            PsCreateSystemThread(THREAD_ALL_ACCESS, NULL, NULL, NULL, thread, NULL)
            timeout = LARGE_INTEGER()
            timeout.QuadPart = -10_000_000
            KeDelayExecutionThread(KernelMode, FALSE, timeout)
        """
    )
    assert report.code == 0xE3
    assert "released at bad.py:6 thread by a thread that does not own it" in report.summary
    assert "which acquired it at bad.py:11 DriverEntry" in report.summary
