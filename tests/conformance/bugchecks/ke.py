"""IRQL, waits, DPCs, processors and watchdogs."""

from ntsim.intrin import *
from ntsim.lab.samples import samples_root
from ntsim.nt.mm import layout
from ntsim.wdm import *

from .case import ANY, Matching, kernel_address, mistake
from .short import *

USER = 1 << 47


@mistake(0x1)
def leaving_a_system_call_with_apcs_disabled(bench) -> None:
    """A dispatch routine enters a critical region and does not leave it."""

    def control(DeviceObject, Irp) -> int:
        KeEnterCriticalRegion()
        return complete(Irp)

    user = Matching("a user-mode address", lambda value: 0 < value < USER)
    bench.expect(user, 0, 0xFFFF, kernel_address)
    bench.request(device_control=control)


@mistake(0x1)
def returning_from_a_work_item_with_apcs_disabled(bench) -> None:
    """A work item's routine enters a guarded region and does not leave it."""
    bench.expect(kernel_address, 0, 0xFFFF0000, 1)
    bench.run(lambda driver: work_item(driver, lambda device, context: KeEnterGuardedRegion()))


@mistake(0x3)
def an_affinity_without_processors(bench) -> None:
    """The affinity asked for has no processor that the machine has."""
    bench.configure(processors=2)
    bench.expect()
    bench.run(lambda: KeSetSystemAffinityThread(1 << 5))


@mistake(0x5)
def attaching_twice(bench) -> None:
    """KeAttachProcess in a thread that is attached already."""
    system = []

    def control(DeviceObject, Irp) -> int:
        app = PsGetCurrentProcess()
        KeAttachProcess(system[0])
        bench.expect(int(app), int(system[0]), 1, 0)
        KeAttachProcess(app)
        return complete(Irp)

    bench.request(
        device=lambda device: system.append(PsGetCurrentProcess()), device_control=control
    )


@mistake(0x6)
def detaching_from_nothing(bench) -> None:
    """KeUnstackDetachProcess in a thread that is not attached."""
    bench.expect()
    bench.run(lambda: KeUnstackDetachProcess(KAPC_STATE()))


@mistake(0xA)
def an_event_in_pageable_memory(bench) -> None:
    """KeSetEvent at DISPATCH_LEVEL of an event in paged pool that is not resident."""

    def body() -> None:
        event = block(0x2000, KEVENT, PagedPool)
        bench.expect(int(event), 2, ANY, bench.kernel)
        KeRaiseIrqlToDpcLevel()
        KeSetEvent(event, 0, FALSE)

    bench.run(body)


@mistake(0xC)
def waiting_for_too_many_objects(bench) -> None:
    """A wait for four objects without wait blocks of its own."""

    def body() -> None:
        events = (PVOID * 4)()
        event = KEVENT()
        KeInitializeEvent(event, NotificationEvent, TRUE)
        for index in range(4):
            events[index] = int(event)
        KeWaitForMultipleObjects(4, events, WaitAll, Executive, KernelMode, FALSE, NULL, NULL)

    bench.expect()
    bench.run(body)


@mistake(0x1E)
def an_exception_in_a_dpc(bench) -> None:
    """A DPC routine raises a status: no thread's handler is below it."""
    bench.expect(STATUS_UNSUCCESSFUL, bench.code, 0, 0)
    bench.run(lambda: dpc(lambda *_: ExRaiseStatus(STATUS_UNSUCCESSFUL)) and pause())


@mistake(0x3B)
def a_null_pointer_in_a_system_call(bench) -> None:
    """A dispatch routine reads a system buffer that a request without data does not have."""

    def control(DeviceObject, Irp) -> int:
        read_bytes(Irp.AssociatedIrp.SystemBuffer, 4)
        return complete(Irp)

    bench.expect(STATUS_ACCESS_VIOLATION, bench.code, kernel_address, 0)
    bench.request(device_control=control)


@mistake(0x4A)
def leaving_a_system_call_at_raised_irql(bench) -> None:
    """A dispatch routine returns with a spin lock held."""

    def control(DeviceObject, Irp) -> int:
        lock = KSPIN_LOCK()
        KeInitializeSpinLock(lock)
        KeAcquireSpinLock(lock)
        return complete(Irp)

    bench.expect(ANY, DISPATCH_LEVEL, 0, kernel_address)
    bench.request(device_control=control)


@mistake(0x50)
def a_wild_pointer(bench) -> None:
    """A write to a kernel address where nothing is."""
    nowhere = 0xFFFF_F800_1234_5678
    bench.expect(nowhere, 2, bench.code, 2)
    bench.run(lambda: write_bytes(nowhere, b"x"))


@mistake(0x7E)
def an_exception_in_a_system_thread(bench) -> None:
    """A system thread dereferences NULL."""
    bench.expect(STATUS_ACCESS_VIOLATION, bench.code, kernel_address, kernel_address)
    bench.run(lambda: thread(lambda context: read_bytes(context, 4)) or pause())


@mistake(0x7F)
def endless_recursion(bench) -> None:
    """A routine that calls itself until the kernel stack is full: a double fault."""

    def again(depth: int) -> int:
        return again(depth + 1) + 1

    bench.expect(8, ANY, ANY, ANY)
    bench.run(lambda: again(0))


@mistake(0xB8)
def waiting_in_a_dpc(bench) -> None:
    """A DPC routine waits for an event that is not set."""
    seen = []

    def routine(Dpc, Context, One, Two) -> None:
        event = KEVENT()
        KeInitializeEvent(event, NotificationEvent, FALSE)
        here = KeGetCurrentThread()
        bench.expect(int(here), kernel_address, here.InitialStack, 0)
        wait(event)

    bench.run(lambda: seen.append(dpc(routine)))


@mistake(0xBE)
def writing_to_code(bench) -> None:
    """A write to the driver's own code, which is read-only."""

    def body(DriverObject) -> None:
        DriverObject.DriverUnload = lambda driver: None
        bench.expect(DriverObject.DriverUnload, ANY, kernel_address, 0xB)
        write_bytes(DriverObject.DriverUnload, b"\xcc")

    bench.run(body)


@mistake(0xC8)
def a_dpc_that_lowers_the_level(bench) -> None:
    """A DPC routine returns at PASSIVE_LEVEL."""
    bench.expect(DISPATCH_LEVEL << 8 | 1, 0, kernel_address, 0)
    bench.run(lambda: dpc(lambda *_: KeLowerIrql(PASSIVE_LEVEL)))


@mistake(0xD1)
def touching_pageable_memory_at_dispatch_level(bench) -> None:
    """The driver reads paged pool that is not resident while it holds a spin lock."""

    def body() -> None:
        paged, lock = block(0x2000, pool=PagedPool), KSPIN_LOCK()
        KeInitializeSpinLock(lock)
        KeAcquireSpinLock(lock)
        bench.expect(paged + 0x1000, 2, 0, bench.code)
        read_bytes(paged + 0x1000, 1)

    bench.run(body)


@mistake(0xFC)
def executing_data(bench) -> None:
    """A thread starts in nonpaged pool that may not be executed."""

    def body() -> None:
        start = block(64)
        bench.expect(start, ANY, kernel_address, 2)
        thread(start)
        pause()

    bench.run(body)


@mistake(0x101)
def a_processor_that_takes_no_interrupts(bench) -> None:
    """A processor spins with interrupts off; another one notices."""
    machine = bench.configure(processors=2)

    def body() -> None:
        KeSetSystemAffinityThread(1 << 1)
        _disable()
        while True:
            KeGetCurrentIrql()

    bench.expect(ANY, 0, int(machine.nt.prcb[1]), 1)
    bench.run(body)


@mistake(0x109)
def a_changed_system_call_entry(bench) -> None:
    """A driver leaves IA32_LSTAR changed: minutes later patch protection looks."""
    bench.expect(ANY, ANY, 0xC0000082, 7)
    bench.run(lambda: __writemsr(0xC0000082, __readmsr(0xC0000082) + 0x10))
    bench.machine.run_until_idle()


@mistake(0x109)
def an_inline_hook(bench) -> None:
    """A jump is written into the body of a kernel routine, and left there."""
    bench.machine.load_driver(samples_root() / "driver" / "c" / "hook.sys")
    bench.expect(ANY, ANY, kernel_address, 1)
    bench.machine.run_until_idle()


@mistake(0x109)
def a_hooked_system_call(bench) -> None:
    """An entry of KiServiceTable leads to the driver's own routine."""
    bench.machine.load_driver(samples_root() / "driver" / "ssdt_hook.py")
    bench.expect(ANY, ANY, layout.KI_SERVICE_TABLE, 0)
    bench.machine.run_until_idle()


@mistake(0x133)
def a_lock_taken_twice(bench) -> None:
    """A spin lock is acquired by the processor that holds it: the level stays raised for ever."""

    def body() -> None:
        lock = KSPIN_LOCK()
        KeInitializeSpinLock(lock)
        KeAcquireSpinLock(lock)
        KeAcquireSpinLock(lock)

    bench.expect(1, 0x1E00, kernel_address, 0)
    bench.run(body)


@mistake(0x133)
def a_dpc_without_end(bench) -> None:
    """One DPC routine that does not return."""

    def routine(Dpc, Context, One, Two) -> None:
        while True:
            KeGetCurrentIrql()

    bench.expect(0, Matching("more ticks than allowed", lambda n: n > 0x500), 0x500, kernel_address)
    bench.run(lambda: dpc(routine))


@mistake(0x192)
def a_resource_acquired_with_a_spin_lock_held(bench) -> None:
    """A resource is acquired by a thread that holds a spin lock."""

    def body() -> None:
        resource, lock = ERESOURCE(), KSPIN_LOCK()
        ExInitializeResourceLite(resource)
        KeAcquireSpinLock(lock)
        bench.expect(int(KeGetCurrentThread()), int(resource), DISPATCH_LEVEL, 0)
        ExAcquireResourceSharedLite(resource, TRUE)

    bench.run(body)


@mistake(0x192)
def a_push_lock_acquired_in_a_dpc(bench) -> None:
    """A push lock is acquired by a DPC routine."""
    seen = []

    def routine(Dpc, Context, One, Two) -> None:
        lock = EX_PUSH_LOCK()
        ExInitializePushLock(lock)
        bench.expect(kernel_address, int(lock), DISPATCH_LEVEL, 0)
        ExAcquirePushLockShared(lock)

    bench.run(lambda: seen.append(dpc(routine)))


@mistake(0x139)
def a_list_entry_removed_twice(bench) -> None:
    """RemoveEntryList of an entry that is not on its list any more."""

    def body() -> None:
        entries = (LIST_ENTRY * 4)()
        InitializeListHead(entries[0])
        for index in (1, 2, 3):
            InsertTailList(entries[0], entries[index])
        RemoveEntryList(entries[2])
        RemoveEntryList(entries[2])

    bench.expect(3, kernel_address, kernel_address, 0)
    bench.run(body)
