"""Pool, locks, work items, objects, threads and processes."""

from ntsim.wdm import *

from .case import ANY, kernel_address, mistake
from .short import *


@mistake(0x18)
def dereferencing_once_too_often(bench) -> None:
    """A thread object is dereferenced more often than it was referenced."""

    def body() -> None:
        _, handle = PsCreateSystemThread(0, NULL, NULL, NULL, lambda context: pause(), NULL)
        _, found = ObReferenceObjectByHandle(handle, 0, NULL, KernelMode, NULL)
        wait(found)
        ZwClose(handle)
        bench.expect(kernel_address, int(found), 2, (1 << 64) - 1)
        for _ in range(8):
            ObDereferenceObject(found)

    bench.run(body)


@mistake(0x19)
def an_overrun_into_the_next_header(bench) -> None:
    """A block is written past its end, over the header of the next, and freed."""

    def body() -> None:
        mine = block(0x30)
        bench.expect(0x20, mine - 16, mine + 0x30, ANY)
        write_bytes(mine, b"\xcc" * 0x40)
        ExFreePoolWithTag(mine, TAG)

    bench.run(body)


@mistake(0x20)
def a_thread_that_ends_in_a_critical_region(bench) -> None:
    """A system thread enters a critical region and ends in it."""
    bench.expect(0, 0xFFFF, 0, 0)
    bench.run(lambda: thread(lambda context: KeEnterCriticalRegion()) or pause())


@mistake(0x21)
def more_quota_returned_than_charged(bench) -> None:
    """PsReturnPoolQuota of more bytes than the process was charged for."""

    def control(DeviceObject, Irp) -> int:
        process = PsGetCurrentProcess()
        PsChargePoolQuota(process, PagedPool, 0x1000)
        bench.expect(int(process), 1, 0x1800, 0x800)
        PsReturnPoolQuota(process, PagedPool, 0x1800)
        return complete(Irp)

    def app() -> None:
        from ntsim import win32
        from tests.conftest import IOCTL_BUFFERED, open_thing

        win32.DeviceIoControl(open_thing(), IOCTL_BUFFERED, None, 0)

    bench.request(app, device_control=control)


@mistake(0x76)
def pages_locked_when_the_process_ends(bench) -> None:
    """A driver locks user memory and never unlocks it; the app ends."""
    from ntsim import win32

    neither = CTL_CODE(FILE_DEVICE_UNKNOWN, 0x800, METHOD_NEITHER, FILE_ANY_ACCESS)

    def control(DeviceObject, Irp) -> int:
        mdl = IoAllocateMdl(Irp.UserBuffer, 0x2000, FALSE, FALSE, NULL)
        MmProbeAndLockPages(mdl, UserMode, IoWriteAccess)
        bench.expect(0, int(PsGetCurrentProcess()), 2, 0)
        return complete(Irp)

    def app() -> None:
        from tests.conftest import open_thing

        memory = win32.VirtualAlloc(0, 0x2000, win32.MEM_COMMIT, win32.PAGE_READWRITE)
        win32.DeviceIoControl(open_thing(), neither, None, (memory, 0x2000))

    bench.request(app, device_control=control)


@mistake(0x96)
def a_work_item_initialised_while_queued(bench) -> None:
    """ExInitializeWorkItem of an item that waits in the queue."""
    bench.configure(processors=1)

    def body() -> None:
        item = block(WORK_QUEUE_ITEM.size, WORK_QUEUE_ITEM)
        old = KeRaiseIrqlToDpcLevel()
        ExInitializeWorkItem(item, lambda parameter: None, NULL)
        ExQueueWorkItem(item, DelayedWorkQueue)
        ExInitializeWorkItem(item, lambda parameter: None, NULL)
        bench.expect(int(item), kernel_address, kernel_address, item.WorkerRoutine)
        KeLowerIrql(old)
        pause()

    bench.run(body)


@mistake(0xC2)
def a_block_freed_twice(bench) -> None:
    """ExFreePool of a block that is free already."""

    def body() -> None:
        mine = block(0x30)
        ExFreePoolWithTag(mine, TAG)
        bench.expect(7, TAG, ANY, mine)
        ExFreePoolWithTag(mine, TAG)

    bench.run(body)


@mistake(0xC2)
def a_block_freed_with_another_tag(bench) -> None:
    """ExFreePoolWithTag with a tag that is not the one the block was allocated with."""

    def body() -> None:
        mine = block(0x30)
        bench.expect(0xA, mine, TAG, TAG + 1)
        ExFreePoolWithTag(mine, TAG + 1)

    bench.run(body)


@mistake(0xDF)
def a_work_item_that_goes_on_impersonating(bench) -> None:
    """A work item's routine impersonates a client and does not revert."""

    def body(DriverObject) -> None:
        item = IoAllocateWorkItem(device(DriverObject))
        bench.expect(kernel_address, int(item), int(item), 0)

        def work(DeviceObject, Context) -> None:
            token = PsReferencePrimaryToken(PsGetCurrentProcess())
            PsImpersonateClient(PsGetCurrentThread(), token, FALSE, FALSE, SecurityImpersonation)
            PsDereferencePrimaryToken(token)

        IoQueueWorkItem(item, work, DelayedWorkQueue, NULL)
        pause()

    bench.run(body)


@mistake(0xC2)
def a_write_over_the_process_that_pays(bench) -> None:
    """The eight bytes before a block that is charged to a process are written, and it is freed."""

    def control(DeviceObject, Irp) -> int:
        mine = ExAllocatePoolWithQuotaTag(NonPagedPoolNx, 0x30, TAG)
        bench.expect(0xD, mine, TAG, ANY)
        write_bytes(mine - 8, b"overrun!")
        ExFreePoolWithTag(mine, TAG)
        return complete(Irp)

    bench.request(device_control=control)


@mistake(0xE1)
def a_work_item_that_returns_at_raised_irql(bench) -> None:
    """A work item's routine raises the level and returns."""

    def body(DriverObject) -> None:
        item = IoAllocateWorkItem(device(DriverObject))
        bench.expect(kernel_address, APC_LEVEL, int(item), int(item))
        IoQueueWorkItem(
            item, lambda device, context: KeRaiseIrql(APC_LEVEL), DelayedWorkQueue, NULL
        )
        pause()

    bench.run(body)


@mistake(0xE3)
def releasing_a_resource_that_another_thread_holds(bench) -> None:
    """ExReleaseResourceLite in a thread that has not acquired the resource."""

    def body() -> None:
        resource = block(ERESOURCE.size, ERESOURCE)
        ExInitializeResourceLite(resource)
        KeEnterCriticalRegion()
        ExAcquireResourceExclusiveLite(resource, TRUE)

        def intruder(context) -> None:
            bench.expect(int(resource), int(KeGetCurrentThread()), resource.OwnerTable, ANY)
            ExReleaseResourceLite(resource)

        thread(intruder)
        pause()

    bench.run(body)


@mistake(0xE4)
def a_work_item_queued_twice(bench) -> None:
    """IoQueueWorkItem of an item that waits in the queue."""
    bench.configure(processors=1)

    def body(DriverObject) -> None:
        item = IoAllocateWorkItem(device(DriverObject))
        KeRaiseIrqlToDpcLevel()
        bench.expect(1, kernel_address, DelayedWorkQueue, 0)
        for _ in range(2):
            IoQueueWorkItem(item, lambda device, context: None, DelayedWorkQueue, NULL)

    bench.run(body)


@mistake(0xE9)
def a_worker_that_ends_itself(bench) -> None:
    """A work item's routine calls PsTerminateSystemThread."""
    bench.expect(kernel_address, 0, 0, 0)
    bench.run(lambda driver: work_item(driver, lambda *_: PsTerminateSystemThread(0)))


@mistake(0x132)
def a_resource_owner_pointer_that_is_none(bench) -> None:
    """ExSetResourceOwnerPointer with an address whose two low bits are not set."""

    def body() -> None:
        resource = block(ERESOURCE.size, ERESOURCE)
        ExInitializeResourceLite(resource)
        KeEnterCriticalRegion()
        ExAcquireResourceExclusiveLite(resource, TRUE)
        here = int(KeGetCurrentThread())
        bench.expect(int(resource), resource.OwnerTable, here, 0x1000)
        ExSetResourceOwnerPointer(resource, 0x1000)

    bench.run(body)


@mistake(0x152)
def push_lock_flags_that_do_not_exist(bench) -> None:
    """ExAcquirePushLockExclusiveEx with a flag that is none."""

    def body() -> None:
        lock = EX_PUSH_LOCK()
        ExInitializePushLock(lock)
        KeEnterCriticalRegion()
        bench.expect(0x40, int(lock), 0, 0)
        ExAcquirePushLockExclusiveEx(lock, 0x40)

    bench.run(body)


@mistake(0x16E)
def releasing_a_resource_for_a_thread_that_holds_nothing(bench) -> None:
    """ExReleaseResourceForThreadLite for an owner that the resource does not have."""

    def body() -> None:
        resource = block(ERESOURCE.size, ERESOURCE)
        ExInitializeResourceLite(resource)
        bench.expect(int(resource), int(KeGetCurrentThread()), 0x1003, 0)
        ExReleaseResourceForThreadLite(resource, 0x1003)

    bench.run(body)


@mistake(0x4000008A)
def a_thread_that_ends_with_a_mutex(bench) -> None:
    """A system thread acquires a KMUTEX and ends."""

    def body() -> None:
        mutex = KMUTEX()
        KeInitializeMutex(mutex, 0)

        def routine(context) -> None:
            wait(mutex)
            bench.expect(int(KeGetCurrentThread()), int(mutex), 0, 0)

        thread(routine)
        pause()

    bench.run(body)


# Locks that AutoBoost tracks


def zeroed(size: int, kind):
    """Zeroed nonpaged memory."""
    made = ExAllocatePoolWithTag(NonPagedPoolNx, size, 1)
    RtlZeroMemory(made, size)
    return cast(made, kind)


def in_a_thread(body) -> None:
    """Run `body` in a system thread, and wait for its end."""
    status, handle = PsCreateSystemThread(THREAD_ALL_ACCESS, NULL, NULL, NULL, body, NULL)
    assert status == STATUS_SUCCESS
    ZwWaitForSingleObject(handle, FALSE, NULL)


@mistake(0x162)
def a_fast_mutex_released_by_another_thread(bench) -> None:
    """One thread acquires a fast mutex, another releases it."""

    def body() -> None:
        mutex = zeroed(0x38, PFAST_MUTEX)
        ExInitializeFastMutex(mutex)

        def other(Context) -> None:
            bench.expect(int(KeGetCurrentThread()), int(mutex), 0xFFFFFFFF, 0)
            ExReleaseFastMutexUnsafe(mutex)

        KeEnterCriticalRegion()
        ExAcquireFastMutexUnsafe(mutex)
        in_a_thread(other)

    bench.run(body)


@mistake(0x162)
def a_push_lock_released_twice(bench) -> None:
    """A push lock is released once more than it was acquired."""

    def body() -> None:
        lock = zeroed(8, PEX_PUSH_LOCK)
        KeEnterCriticalRegion()
        ExAcquirePushLockShared(lock)
        ExReleasePushLockShared(lock)
        bench.expect(int(KeGetCurrentThread()), int(lock), 0xFFFFFFFF, 0)
        ExReleasePushLockShared(lock)

    bench.run(body)


@mistake(0x153)
def a_thread_that_ends_with_a_push_lock(bench) -> None:
    """A thread returns without releasing its push lock."""

    def body() -> None:
        lock = zeroed(8, PEX_PUSH_LOCK)

        def thread(Context) -> None:
            me = int(KeGetCurrentThread())
            bench.expect(me, me + 0x650, 1, 0)
            ExAcquirePushLockExclusive(lock)

        in_a_thread(thread)

    bench.run(body)


@mistake(0x189)
def an_object_whose_header_was_overwritten(bench) -> None:
    """The type index in an object's header is overwritten; then a handle to it is closed."""

    def body() -> None:
        _, handle = ZwCreateEvent(EVENT_ALL_ACCESS, NULL, NotificationEvent, FALSE)
        _, event = ObReferenceObjectByHandle(handle, 0, NULL, KernelMode, NULL)
        header = int(event) - 0x30
        (right,) = read_bytes(header + 0x18, 1)
        write_bytes(header + 0x18, bytes([right ^ 0x80]))
        bench.expect(header, 0, 0, 0)
        ZwClose(handle)

    bench.run(body)
