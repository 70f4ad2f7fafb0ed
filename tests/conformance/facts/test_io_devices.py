"""Facts of devices and drivers, remove locks, shared events, interrupts' locks and MDLs."""

from __future__ import annotations

from typing import Any

from ntsim.wdm import *

from .fact import KMTESTS, WINE, Facts, as_tests, large, start, text_of

DEVICE = Facts(f"{KMTESTS}/ntos_io/IoDeviceObject_drv.c")
ATTACH = Facts(f"{WINE}/driver.c test_IoAttachDeviceToDeviceStack")
REMOVE_LOCK = Facts(f"{WINE}/driver.c test_sync")
EVENT = Facts(f"{KMTESTS}/ntos_io/IoEvent.c")
INTERRUPT = Facts(f"{KMTESTS}/ntos_io/IoInterrupt.c")
MDL_FACTS = Facts(f"{KMTESTS}/ntos_io/IoMdl.c")
MDL_LENGTH = Facts("WDK IoAllocateMdl")
NAMED = Facts(f"{WINE}/driver.c DriverEntry")
TAG = 0x74736554
SERVICES = "\\Registry\\Machine\\System\\CurrentControlSet\\Services\\"


def create(driver: Any, name: str | None = None, extension: int = 0, exclusive: int = FALSE) -> Any:
    text = UNICODE_STRING(name) if name else NULL
    return IoCreateDevice(driver, extension, text, FILE_DEVICE_UNKNOWN, 0, exclusive)[1]


# The driver object


@DEVICE.fact([4, 0x150, 0, DRVO_LEGACY_DRIVER, True, True, True, 0, 0])
def a_driver_object_is_new_when_DriverEntry_is_called(DriverObject: Any) -> list[Any]:
    d = DriverObject
    extension = d.DriverExtension
    found = [d.Type, d.Size, int(d.DeviceObject), d.Flags, d.DriverStart != 0]
    found += [int(extension) == int(d) + 0x150, int(extension.DriverObject) == int(d)]
    return [*found, int(extension.AddDevice), extension.Count]


@DEVICE.fact(["\\Driver\\drv", True, "drv", True])
def a_driver_object_is_named_by_its_service(DriverObject: Any) -> list[Any]:
    name, key = DriverObject.DriverName, DriverObject.DriverExtension.ServiceKeyName
    return [text_of(name), name.MaximumLength == name.Length, text_of(key),
            key.MaximumLength == key.Length + 2]  # fmt: skip


@DEVICE.fact([1, True])
def every_dispatch_routine_is_the_same_until_the_driver_sets_one(DriverObject: Any) -> list[Any]:
    routines = {int(DriverObject.MajorFunction[n]) for n in range(IRP_MJ_MAXIMUM_FUNCTION + 1)}
    return [len(routines), 0 not in routines]


@DEVICE.fact(["\\REGISTRY\\MACHINE\\HARDWARE\\DESCRIPTION\\SYSTEM", 2])
def the_hardware_database_is_a_key(DriverObject: Any) -> list[Any]:
    text = DriverObject.HardwareDatabase
    return [text_of(text), text.MaximumLength - text.Length]


@NAMED.fact([STATUS_SUCCESS, True])
def a_driver_object_is_found_by_its_name(DriverObject: Any) -> list[Any]:
    out = PVOID()
    status = ObReferenceObjectByName(
        UNICODE_STRING("\\Driver\\drv"), 0, NULL, 0, IoDriverObjectType[0], KernelMode, NULL, out
    )
    found = int(out[0]) == int(DriverObject)
    ObDereferenceObject(out[0])
    return [status, found]


@DEVICE.fact(STATUS_OBJECT_NAME_NOT_FOUND, routine=["ZwLoadDriver", "ZwUnloadDriver"])
def a_service_that_is_not_there_is_not_found(routine: str) -> int:
    call = {"ZwLoadDriver": ZwLoadDriver, "ZwUnloadDriver": ZwUnloadDriver}[routine]
    return call(UNICODE_STRING(SERVICES + "deadbeef"))


# Device objects


@DEVICE.fact(
    lambda exclusive: [
        3, 0x150, 0, True, 0, 0, 0,
        DO_DEVICE_HAS_NAME | DO_DEVICE_INITIALIZING | (DO_EXCLUSIVE if exclusive else 0),
        FILE_DEVICE_UNKNOWN, 1, 0,
    ],
    exclusive=[FALSE, TRUE],
)  # fmt: skip
def a_new_device_has_these_fields(exclusive: int, DriverObject: Any) -> list[Any]:
    device = create(DriverObject, "\\Device\\Thing", 0, exclusive)
    found = [device.Type, device.Size, device.ReferenceCount]
    found.append(int(device.DriverObject) == int(DriverObject))
    found += [int(device.NextDevice), int(device.AttachedDevice), device.Characteristics]
    return [*found, device.Flags, device.DeviceType, device.StackSize, device.ActiveThreadCount]


@DEVICE.fact([13, 0, True, 0, 0, 0, 0, 0])
def a_new_devices_private_extension_has_these_fields(DriverObject: Any) -> list[Any]:
    device = create(DriverObject, "\\Device\\Thing")
    extension = device.DeviceObjectExtension
    found = [extension.Type, extension.Size, int(extension.DeviceObject) == int(device)]
    found += [extension.ExtensionFlags, int(extension.AttachedTo), extension.StartIoCount]
    return [*found, extension.StartIoKey, extension.StartIoFlags]


@DEVICE.fact([True, True, True, 0])
def devices_are_a_list_with_the_newest_first(DriverObject: Any) -> list[Any]:
    first = create(DriverObject)
    second = create(DriverObject)
    found = [int(DriverObject.DeviceObject) == int(second), int(second.NextDevice) == int(first)]
    IoDeleteDevice(second)
    found.append(int(DriverObject.DeviceObject) == int(first))
    IoDeleteDevice(first)
    return [*found, int(DriverObject.DeviceObject)]


def three(DriverObject: Any) -> list[Any]:
    devices = [create(DriverObject) for _ in range(3)]
    for device in devices:
        device.Flags &= ~DO_DEVICE_INITIALIZING
    return devices


def links(devices: list[Any]) -> list[int | None]:
    """The device attached to each, by number."""
    numbers = {int(device): n for n, device in enumerate(devices)}
    return [numbers.get(int(device.AttachedDevice)) for device in devices]


@ATTACH.fact([0, [1, None, None], 1, [1, 2, None], [1, 2, 3]])
def attaching_goes_on_top_of_the_stack(DriverObject: Any) -> list[Any]:
    devices = three(DriverObject)
    found: list[Any] = []
    for device in devices[1:]:
        below = IoAttachDeviceToDeviceStack(device, devices[0])
        found += [devices.index(below), links(devices)]
    return [*found, [device.StackSize for device in devices]]


@ATTACH.fact([[None, 2, None], [None, None, None], [1, 2, 3]])
def detaching_clears_one_link_and_leaves_the_stack_sizes(DriverObject: Any) -> list[Any]:
    devices = three(DriverObject)
    for device in devices[1:]:
        IoAttachDeviceToDeviceStack(device, devices[0])
    found: list[Any] = []
    for device in devices[:2]:
        IoDetachDevice(device)
        found.append(links(devices))
    return [*found, [device.StackSize for device in devices]]


@DEVICE.fact([True, True, True])
def the_devices_below_are_found_from_the_top(DriverObject: Any) -> list[bool]:
    bottom, top = create(DriverObject), create(DriverObject)
    for device in (bottom, top):
        device.Flags &= ~DO_DEVICE_INITIALIZING
    IoAttachDeviceToDeviceStack(top, bottom)
    found = [int(IoGetLowerDeviceObject(top)) == int(bottom)]
    found.append(int(IoGetDeviceAttachmentBaseRef(top)) == int(bottom))
    found.append(int(IoGetAttachedDeviceReference(bottom)) == int(top))
    for device in (bottom, bottom, top):
        ObDereferenceObject(device)
    IoDetachDevice(bottom)
    return found


# Remove locks


@REMOVE_LOCK.fact([
    0, 0, 0, STATUS_TIMEOUT, STATUS_DELETE_PENDING, STATUS_TIMEOUT, STATUS_SUCCESS,
    STATUS_DELETE_PENDING,
])  # fmt: skip
def a_removal_waits_for_every_holder_and_lets_no_new_one_in() -> list[int]:
    lock = IO_REMOVE_LOCK()
    IoInitializeRemoveLock(lock, TAG, 0, 0)

    def remove(context: Any) -> None:
        IoAcquireRemoveLock(lock, NULL)
        IoReleaseRemoveLockAndWait(lock, NULL)

    found = [IoAcquireRemoveLock(lock, NULL)]
    IoReleaseRemoveLock(lock, NULL)
    found += [IoAcquireRemoveLock(lock, NULL), IoAcquireRemoveLock(lock, NULL)]
    thread = start(remove)

    def ended(milliseconds: int) -> int:
        return KeWaitForSingleObject(
            thread, Executive, KernelMode, FALSE, large(-10_000 * milliseconds)
        )

    found += [ended(50), IoAcquireRemoveLock(lock, NULL)]
    IoReleaseRemoveLock(lock, NULL)
    found.append(ended(0))
    IoReleaseRemoveLock(lock, NULL)
    return [*found, ended(10_000), IoAcquireRemoveLock(lock, NULL)]


# Events by name

CREATE = {0: IoCreateNotificationEvent, 1: IoCreateSynchronizationEvent}


@EVENT.fact(lambda kind, name: [kind, 1, True, True], kind=[0, 1], name=[None, "Shared"])
def a_shared_event_is_new_signalled_and_has_a_kernel_handle(
    kind: int, name: str | None
) -> list[Any]:
    handle = HANDLE()
    text = UNICODE_STRING(f"\\BaseNamedObjects\\{name}") if name else NULL
    event = CREATE[kind](text, handle)
    kernel = int(handle[0]) >= 0xFFFFFFFF80000000
    found = [event.Header.Type, KeReadStateEvent(event), int(handle[0]) != 0, kernel]
    ZwClose(handle[0])
    return found


@EVENT.fact([True, 0, True], first=[0], second=[0, 1])
def creating_a_shared_event_again_opens_the_first_whatever_its_type(
    first: int, second: int
) -> list[Any]:
    handles = HANDLE(), HANDLE()
    name = UNICODE_STRING("\\BaseNamedObjects\\Shared")
    events = [CREATE[first](name, handles[0]), CREATE[second](name, handles[1])]
    different = int(handles[0][0]) != int(handles[1][0])
    found = [int(events[0]) == int(events[1]), events[1].Header.Type, different]
    for handle in handles:
        ZwClose(handle[0])
    return found


# Interrupt objects


@INTERRUPT.fact(
    lambda level, synch, result: [result, synch, 1, level, 0]
    if synch >= level else None,
    level=[PASSIVE_LEVEL, DISPATCH_LEVEL, 5], synch=[5, 9, 12, HIGH_LEVEL], result=[0, 1],
)  # fmt: skip
def KeSynchronizeExecution_runs_at_the_interrupts_level_with_its_lock(
    level: int, synch: int, result: int
) -> list[Any]:
    interrupt, lock, seen = KINTERRUPT(), KSPIN_LOCK(), []
    KeInitializeSpinLock(lock)
    RtlFillMemory(interrupt, sizeof(KINTERRUPT), 0x55)
    interrupt.ActualLock = lock
    interrupt.SynchronizeIrql = synch

    def routine(Context: Any) -> int:
        seen.extend([KeGetCurrentIrql(), lock[0]])
        return result

    KeRaiseIrql(level)
    returned = int(KeSynchronizeExecution(interrupt, routine, NULL))
    return [returned, *seen, KeGetCurrentIrql(), lock[0]]


# MDLs

LARGEST = (0x10000 - 48) // 8 * 4096 - 4096
"""The most that the 16-bit size of an MDL allowed before Windows Vista."""


@MDL_FACTS.fact(True, size=[LARGEST // 2, LARGEST])
def an_mdl_describes_at_least_what_its_size_field_allows(size: int) -> bool:
    mdl = IoAllocateMdl(NULL, size, FALSE, FALSE, NULL)
    made = int(mdl) != 0
    IoFreeMdl(mdl)
    return made


@MDL_LENGTH.fact(False, size=[0xFFFFF001, 0xFFFFFFFF])
def more_than_4_gigabytes_less_a_page_are_too_much_for_an_mdl(size: int) -> bool:
    return bool(IoAllocateMdl(NULL, size, FALSE, FALSE, NULL))


@MDL_FACTS.fact([True, True, True])
def an_irps_first_mdl_is_its_MdlAddress_and_a_secondary_one_is_chained() -> list[bool]:
    irp = IoAllocateIrp(1, FALSE)
    block = ExAllocatePoolWithTag(NonPagedPool, 8192, TAG)
    first = IoAllocateMdl(block, 100, FALSE, FALSE, irp)
    found = [int(irp.MdlAddress) == int(first)]
    second = IoAllocateMdl(block + 4096, 100, TRUE, FALSE, irp)
    return [*found, int(irp.MdlAddress) == int(first), int(first.Next) == int(second)]


test_fact = as_tests(DEVICE, ATTACH, REMOVE_LOCK, EVENT, INTERRUPT, MDL_FACTS, MDL_LENGTH, NAMED)
