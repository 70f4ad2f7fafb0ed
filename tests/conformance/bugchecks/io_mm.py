"""IRPs, devices, unloading; MDLs, mappings, the last page."""

from ntsim.wdm import *

from .case import ANY, Matching, mistake
from .short import *


@mistake(0x1A)
def mapping_pages_that_are_not_locked(bench) -> None:
    """An MDL whose pages were never locked is mapped."""

    def body() -> None:
        mdl = IoAllocateMdl(block(64), 64, FALSE, FALSE, NULL)
        bench.expect(0x1233, ANY, 0, 0)
        MmMapLockedPagesSpecifyCache(mdl, KernelMode, MmCached, NULL, FALSE, NormalPagePriority)

    bench.run(body)


@mistake(0x35)
def a_stack_deeper_than_the_irp(bench) -> None:
    """A filter passes an IRP down that was allocated with one stack location."""

    def body(DriverObject) -> None:
        lower, upper = device(DriverObject), device(DriverObject)

        def read(DeviceObject, Irp) -> int:
            return IoCallDriver(lower, Irp)

        DriverObject.MajorFunction[IRP_MJ_READ] = read
        irp = IoAllocateIrp(1, FALSE)
        IoGetNextIrpStackLocation(irp).MajorFunction = IRP_MJ_READ
        bench.expect(int(irp), 0, 0, 0)
        IoCallDriver(upper, irp)

    bench.run(body)


@mistake(0x44)
def completing_a_request_twice(bench) -> None:
    """A dispatch routine calls IoCompleteRequest twice."""

    def body(DriverObject) -> None:
        def read(DeviceObject, Irp) -> int:
            complete(Irp)
            return complete(Irp)

        made, event, block = device(DriverObject), KEVENT(), IO_STATUS_BLOCK()
        DriverObject.MajorFunction[IRP_MJ_READ] = read
        KeInitializeEvent(event, NotificationEvent, FALSE)
        irp = IoBuildSynchronousFsdRequest(IRP_MJ_READ, made, NULL, 0, NULL, event, block)
        bench.expect(int(irp), 0x1232, 0, 0)
        IoCallDriver(made, irp)

    bench.run(body)


@mistake(0x48)
def completing_with_a_cancel_routine_set(bench) -> None:
    """A request is completed without IoSetCancelRoutine(Irp, NULL) before."""

    def control(DeviceObject, Irp) -> int:
        IoSetCancelRoutine(Irp, lambda device, irp: None)
        bench.expect(int(Irp), Irp.CancelRoutine, 0, 0)
        return complete(Irp)

    bench.request(device_control=control)


@mistake(0x4D)
def touching_more_pageable_memory_than_there_is(bench) -> None:
    """Paged pool is touched until no page is left."""
    bench.configure(memory_mb=16, processors=1)

    def body() -> None:
        blocks = [block(0x40_0000, pool=PagedPool) for _ in range(8)]
        for va in blocks:
            for page in range(0, 0x40_0000, 0x1000):
                write_bytes(va + page, b"x")

    bench.expect(0, 0, ANY, 0)
    bench.run(body)


@mistake(0x4E)
def unlocking_pages_twice(bench) -> None:
    """MmUnlockPages of an MDL whose pages are unlocked already."""

    def body() -> None:
        va = block(64)
        mdl = IoAllocateMdl(va, 64, FALSE, FALSE, NULL)
        MmProbeAndLockPages(mdl, KernelMode, IoReadAccess)
        MmUnlockPages(mdl)
        bench.expect(7, MmGetPhysicalAddress(va) >> 12, 0, 0)
        MmUnlockPages(mdl)

    bench.run(body)


@mistake(0x4E)
def freeing_pool_that_is_locked(bench) -> None:
    """Nonpaged pool is freed while an MDL holds its pages locked."""

    def body() -> None:
        va = block(0x2000)
        mdl = IoAllocateMdl(va + 0x1000, 0x1000, FALSE, FALSE, NULL)
        MmProbeAndLockPages(mdl, KernelMode, IoReadAccess)
        MmProbeAndLockPages(mdl, KernelMode, IoReadAccess)
        bench.expect(0x9A, MmGetPhysicalAddress(va + 0x1000) >> 12, 6, 3)
        ExFreePoolWithTag(va, TAG)

    bench.run(body)


@mistake(0xD4)
def a_resource_left_in_the_list_at_unload(bench) -> None:
    """A driver is unloaded without ExDeleteResourceLite; somebody deletes the next one in the list.

    Source: zodiacon/windowskernelprogrammingbook2e pull request 27."""

    def leaves_it(DriverObject, RegistryPath) -> int:
        DriverObject.DriverUnload = lambda driver: None
        image = machine.nt.images.at(DriverObject.DriverStart)
        left.append(image.data_end - ERESOURCE.size & ~0xF)
        ExInitializeResourceLite(cast(left[0], PERESOURCE))
        return STATUS_SUCCESS

    def deletes_its_own(DriverObject, RegistryPath) -> int:
        resource = block(ERESOURCE.size, PERESOURCE)
        ExInitializeResourceLite(resource)
        DriverObject.DriverUnload = lambda driver: ExDeleteResourceLite(resource)
        return STATUS_SUCCESS

    left: list[int] = []
    machine = bench.configure(processors=1)
    one = machine.load_driver(leaves_it, name="gone.sys")
    other = machine.load_driver(deletes_its_own, name="drv.sys")
    machine.unload_driver(one)
    bench.expect(left[0], DISPATCH_LEVEL, 0, bench.kernel)
    machine.unload_driver(other)


@mistake(0xCE)
def a_thread_left_running_at_unload(bench) -> None:
    """DriverUnload does not wait for the driver's thread, which goes on in code that is gone."""

    def DriverEntry(DriverObject, RegistryPath) -> int:
        DriverObject.DriverUnload = lambda driver: None
        thread(lambda context: (pause(10), pause(10)))
        return STATUS_SUCCESS

    machine = bench.configure(processors=1)
    loaded = machine.load_driver(DriverEntry, name="drv.sys")
    start, size = loaded.object.DriverStart, loaded.object.DriverSize
    gone = Matching("an address of the unloaded driver", lambda at: start <= at < start + size)
    machine.unload_driver(loaded)
    bench.expect(gone, 0x10, gone, 0)
    machine.run_until_idle()


@mistake(0xDA)
def freeing_a_mapping_address_with_another_tag(bench) -> None:
    """MmFreeMappingAddress with a tag that is not the one of the reservation."""

    def body() -> None:
        base = MmAllocateMappingAddress(0x2000, TAG)
        bench.expect(0x101, base, TAG + 2, ANY)
        MmFreeMappingAddress(base, TAG + 2)

    bench.run(body)


@mistake(0x11B)
def a_cancel_routine_that_keeps_the_lock(bench) -> None:
    """A cancel routine returns without IoReleaseCancelSpinLock."""

    def body() -> None:
        irp = IoAllocateIrp(1, FALSE)
        IoSetNextIrpStackLocation(irp)
        IoSetCancelRoutine(irp, lambda device, irp: None)
        bench.expect(int(irp), irp.CancelRoutine, 0, 0)
        IoCancelIrp(irp)

    bench.run(body)


def mdl_of(size: int):
    """A locked MDL of a paged buffer, and the buffer."""
    buffer = ExAllocatePoolWithTag(PagedPool, size, 1)
    mdl = IoAllocateMdl(buffer, size, FALSE, FALSE, NULL)
    MmProbeAndLockPages(mdl, KernelMode, IoReadAccess)
    return mdl, int(buffer)


@mistake(0x12E)
def a_partial_mdl_that_reaches_further_than_its_source(bench) -> None:
    """IoBuildPartialMdl is asked for more bytes than the source MDL describes."""

    def body() -> None:
        source, buffer = mdl_of(0x100)
        target = IoAllocateMdl(buffer, 0x200, FALSE, FALSE, NULL)
        bench.expect(int(source), int(target), buffer + 0x80, 0x100)
        IoBuildPartialMdl(source, target, buffer + 0x80, 0x100)

    bench.run(body)


@mistake(0x40)
def a_partial_mdl_in_one_that_is_too_small(bench) -> None:
    """IoBuildPartialMdl is given a target MDL with room for fewer pages."""

    def body() -> None:
        source, buffer = mdl_of(0x3000)
        target = IoAllocateMdl(buffer, 0x100, FALSE, FALSE, NULL)
        bench.expect()
        IoBuildPartialMdl(source, target, buffer, 0x3000)

    bench.run(body)
