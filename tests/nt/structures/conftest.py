"""A machine in the middle of things, and a copy of its RAM from that very moment.

Two processors; an app whose request is pending and one that waits for an event; a stack of three
devices; system threads that wait in every way; timers, DPCs and APCs queued; blocks of pool; a
driver that has come and gone.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from ntsim import win32
from ntsim.machine import Machine
from ntsim.nt.ke.thread import READY
from ntsim.wdm import *
from tests.nt.structures.snapshot import Snapshot


def large(value: int) -> Any:
    made = LARGE_INTEGER()
    made.QuadPart = value
    return made


CODE = CTL_CODE(FILE_DEVICE_UNKNOWN, 0x800, METHOD_BUFFERED, FILE_ANY_ACCESS)
FOR_EVER = NULL


@dataclass
class Busy:
    """`made` are the addresses of what the driver created, by name."""

    machine: Machine
    made: dict[str, Any] = field(default_factory=dict)
    memory: Any = None

    @property
    def nt(self) -> Any:
        return self.machine.nt

    def model(self) -> None:
        """What the kernel model says of the same moment."""
        nt = self.nt
        ob, ps = nt.ob, nt.ps
        self.named = {name: body for body in ob.bodies if (name := ob.full_name(body))}
        self.types_of_objects = {body: ob.type_of(body).name for body in ob.bodies}
        tables = {p.pid: p.handles for p in ps.processes if p.threads}
        self.handles = {
            pid: {handle: table.lookup(handle) for handle in table.handles()}
            for pid, table in tables.items()
        }
        opened = [body for table in self.handles.values() for body, _ in table.values()]
        self.handles_of_types = Counter(ob.type_of(body).name for body in opened)
        self.counts = {
            body: (ob.header(body).PointerCount, ob.header(body).HandleCount) for body in ob.bodies
        }
        alive = [p for p in ps.processes if p.threads]
        self.processes = [(p.pid, p.va, p.root) for p in alive]
        self.threads = {p.pid: [t.va for t in p.threads] for p in alive}
        self.states = {t.va: t.v.State for t in nt.ke.threads.values()}
        self.ranges = {p.pid: [(r.base, r.end) for r in p.user.ranges] for p in alive}
        self.prcbs = [int(prcb) for prcb in nt.prcb]
        idle = [t.va for t in nt.ke.idle_threads]
        self.current = [(p.context.va, idle[p.number]) for p in nt.processors]
        self.timers = sorted(nt.ke.timers.live)
        waiting = {t.va for t in nt.ke.threads.values() if t.v.State == READY}
        self.ready = [
            sorted(va for va in waiting if nt.ke.threads[va].v.NextProcessor == n)
            for n in range(len(nt.processors))
        ]
        self.modules = [(i.file_name, i.base, i.size) for i in nt.images.loaded if i.owner]
        (gone,) = nt.images.unloaded
        self.unloaded = (gone.base, gone.base + gone.size)
        self.storm_size = sizeof(Storm)
        self.big = {
            va: (block.tag.encode(), block.pages * 0x1000) for va, block in nt.ex.pool.big.items()
        }


def pending_app() -> None:
    access = win32.GENERIC_READ | win32.GENERIC_WRITE
    share = win32.FILE_SHARE_READ
    handle = win32.CreateFile("\\\\.\\Base", access, share, None, win32.OPEN_EXISTING, 0, None)
    win32.DeviceIoControl(handle, CODE, b"0123456789abcdef", 16)


def waiting_app() -> None:
    address = win32.VirtualAlloc(0, 0x5000, win32.MEM_RESERVE, win32.PAGE_READWRITE)
    win32.VirtualAlloc(address, 0x2000, win32.MEM_COMMIT, win32.PAGE_READWRITE)
    event = win32.CreateEvent(None, True, False, "Global\\Never")
    win32.WaitForSingleObject(event, win32.INFINITE)


def base_driver(busy: Busy) -> Any:
    """The lowest device; device controls stay pending."""
    made = busy.made

    def complete(DeviceObject: Any, Irp: Any) -> int:
        Irp.IoStatus.Status = STATUS_SUCCESS
        IoCompleteRequest(Irp, IO_NO_INCREMENT)
        return STATUS_SUCCESS

    def control(DeviceObject: Any, Irp: Any) -> int:
        made["irp"] = int(Irp)
        IoMarkIrpPending(Irp)
        return STATUS_PENDING

    def DriverEntry(DriverObject: Any, RegistryPath: Any) -> int:
        for major in (IRP_MJ_CREATE, IRP_MJ_CLEANUP, IRP_MJ_CLOSE):
            DriverObject.MajorFunction[major] = complete
        DriverObject.MajorFunction[IRP_MJ_DEVICE_CONTROL] = control
        name = UNICODE_STRING("\\Device\\Base")
        _, device = IoCreateDevice(DriverObject, 32, name, FILE_DEVICE_UNKNOWN, 0, FALSE)
        _, second = IoCreateDevice(DriverObject, 0, NULL, FILE_DEVICE_UNKNOWN, 0, FALSE)
        IoCreateSymbolicLink(UNICODE_STRING("\\DosDevices\\Base"), name)
        made["base driver"], made["base"] = int(DriverObject), int(device)
        made["second"] = int(second)
        return STATUS_SUCCESS

    return DriverEntry


def filter_driver(busy: Busy) -> Any:
    """Two devices upon the base device, which pass everything on."""
    made = busy.made

    def forward(DeviceObject: Any, Irp: Any) -> int:
        IoSkipCurrentIrpStackLocation(Irp)
        return IoCallDriver(made["lower of " + hex(int(DeviceObject))], Irp)

    def DriverEntry(DriverObject: Any, RegistryPath: Any) -> int:
        for major in range(IRP_MJ_MAXIMUM_FUNCTION + 1):
            DriverObject.MajorFunction[major] = forward
        for name in ("lower filter", "upper filter"):
            _, device = IoCreateDevice(DriverObject, 0, NULL, FILE_DEVICE_UNKNOWN, 0, FALSE)
            lower = IoAttachDeviceToDeviceStack(device, made["base"])
            made["lower of " + hex(int(device))] = int(lower)
            device.Flags &= ~DO_DEVICE_INITIALIZING
            made[name] = int(device)
        return STATUS_SUCCESS

    return DriverEntry


def passing_driver(DriverObject: Any, RegistryPath: Any) -> int:
    DriverObject.DriverUnload = lambda driver: None
    return STATUS_SUCCESS


class Storm(Structure):
    """What the last driver keeps in nonpaged memory."""

    event: KEVENT
    signalled: KEVENT
    semaphore: KSEMAPHORE
    mutex: KMUTANT
    once: KTIMER
    periodic: KTIMER
    timer_dpc: KDPC
    here_dpc: KDPC
    there_dpc: KDPC
    apc: KAPC


NAMES = tuple(Storm.__annotations__)


def storm_driver(busy: Busy) -> Any:
    """Fills the machine with waits, timers, DPCs and pool, and copies RAM."""
    made = busy.made

    def dpc(Dpc: Any, Context: int, One: int, Two: int) -> None:
        pass

    def apc(Apc: Any, Routine: Any, Context: Any, One: Any, Two: Any) -> None:
        pass

    def wait_for_both(Context: int) -> None:
        storm = cast(Context, POINTER(Storm))
        objects = (PVOID * 2)()
        objects[0], objects[1] = storm.event, storm.semaphore
        timeout = large(-1_000_000_000)
        KeWaitForMultipleObjects(2, objects, WaitAll, Executive, KernelMode, FALSE, timeout, NULL)

    def wait_for_mutex(Context: int) -> None:
        KeWaitForSingleObject(
            cast(Context, POINTER(Storm)).mutex, Executive, KernelMode, FALSE, FOR_EVER
        )

    def wait_as_user(Context: int) -> None:
        KeWaitForSingleObject(
            cast(Context, POINTER(Storm)).event, UserRequest, UserMode, TRUE, FOR_EVER
        )

    def hold_mutex(Context: int) -> None:
        storm = cast(Context, POINTER(Storm))
        KeWaitForSingleObject(storm.mutex, Executive, KernelMode, FALSE, FOR_EVER)
        KeEnterCriticalRegion()
        made["holder"] = int(KeGetCurrentThread())
        KeWaitForSingleObject(storm.event, Executive, KernelMode, FALSE, FOR_EVER)

    def start(routine: Any, context: int) -> None:
        _, handle = PsCreateSystemThread(THREAD_ALL_ACCESS, NULL, NULL, NULL, routine, context)
        _, thread = ObReferenceObjectByHandle(handle, 0, NULL, KernelMode, NULL)
        made[routine.__name__] = int(thread)
        ZwClose(handle)

    def DriverEntry(DriverObject: Any, RegistryPath: Any) -> int:
        at = int(ExAllocatePoolWithTag(NonPagedPool, sizeof(Storm), 0x6D726F74))
        storm = cast(at, POINTER(Storm))
        made["storm"] = at
        for name in NAMES:
            made[name] = int(getattr(storm, name))
        KeInitializeEvent(storm.event, NotificationEvent, FALSE)
        KeInitializeEvent(storm.signalled, SynchronizationEvent, TRUE)
        KeInitializeSemaphore(storm.semaphore, 3, 7)
        KeInitializeMutex(storm.mutex, 0)
        for timer in (storm.once, storm.periodic):
            KeInitializeTimerEx(timer, SynchronizationTimer)
        for each in (storm.timer_dpc, storm.here_dpc, storm.there_dpc):
            KeInitializeDpc(each, dpc, at)
        start(hold_mutex, at)
        pause = large(-100_000)
        KeDelayExecutionThread(KernelMode, FALSE, pause)
        for routine in (wait_for_both, wait_for_mutex, wait_as_user):
            start(routine, at)
        KeDelayExecutionThread(KernelMode, FALSE, pause)
        thread = made["holder"]
        KeInitializeApc(storm.apc, thread, 0, apc, NULL, apc, KernelMode, 5)
        made["apc inserted"] = KeInsertQueueApc(storm.apc, 6, 7, 0)
        made["big"] = int(ExAllocatePoolWithTag(NonPagedPool, 0x3210, 0x21676942))
        made["paged"] = int(ExAllocatePoolWithTag(PagedPool, 100, 0x64676150))
        write_bytes(made["paged"], b"x" * 100)
        made["freed"] = int(ExAllocatePoolWithTag(NonPagedPool, 200, 0x64657246))
        ExFreePoolWithTag(made["freed"], 0x64657246)
        KeSetTimer(storm.once, large(-500_000_000), storm.timer_dpc)
        KeSetTimerEx(storm.periodic, large(-600_000_000), 70, NULL)
        KeSetTargetProcessorDpc(storm.there_dpc, 1 - KeGetCurrentProcessorNumber())
        old = KeRaiseIrql(DISPATCH_LEVEL)
        made["processor"] = KeGetCurrentProcessorNumber()
        KeInsertQueueDpc(storm.here_dpc, 0x11, 0x22)
        made["thread"] = int(KeGetCurrentThread())
        made["now"] = busy.nt.il.now
        busy.memory = Snapshot.of(busy.machine)
        busy.model()
        KeLowerIrql(old)
        return STATUS_SUCCESS

    return DriverEntry


@pytest.fixture(scope="package")
def busy() -> Iterator[Busy]:
    with Machine(processors=2, memory_mb=32, seed=7) as machine:
        made = Busy(machine)
        machine.load_driver(base_driver(made), name="base.sys")
        machine.load_driver(filter_driver(made), name="filter.sys")
        machine.unload_driver(machine.load_driver(passing_driver, name="passing.sys"))
        machine.start(pending_app, name="pending.exe")
        machine.start(waiting_app, name="waiting.exe")
        machine.run_for(1_000_000)
        machine.load_driver(storm_driver(made), name="storm.sys")
        yield made


@pytest.fixture
def memory(busy: Busy) -> Snapshot:
    return busy.memory
