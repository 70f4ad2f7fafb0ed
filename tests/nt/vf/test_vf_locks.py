"""Driver Verifier: push locks, remove locks, fast I/O, registrations, images.

Source: WDK Bug Check 0xC4, 0xB8, 0xB9, 0xC3, 0xC6, 0xD5 to 0xD7, 0xDA to 0xDD, 0xEA, 0xEB, 0x131,
0x2000 to 0x2005; Bug Check 0xC9, 0x11.
"""

import struct
from pathlib import Path

import pytest

from ntsim.errors import BugCheck
from ntsim.intrin import *
from ntsim.wdm import *

IO, MISC, INTEGRITY = {"verifier": "io"}, {"verifier": "misc"}, {"verifier": "code-integrity"}
DRIVER = Path(__file__).parents[3] / "driver/c/hello.sys"


def memory(size: int, kind, pool: int = NonPagedPoolNx):
    block = ExAllocatePoolWithTag(pool, size, 1)
    RtlZeroMemory(block, size)
    return cast(block, kind)


def finish(Irp) -> int:
    Irp.IoStatus.Status = STATUS_SUCCESS
    IoCompleteRequest(Irp, IO_NO_INCREMENT)
    return STATUS_SUCCESS


# Push locks


def take(lock) -> None:
    ExAcquirePushLockExclusive(lock)


def leave(lock) -> None:
    KeEnterCriticalRegion()
    ExAcquirePushLockExclusive(lock)
    KeLeaveCriticalRegion()
    ExReleasePushLockExclusive(lock)


@pytest.mark.parametrize(("use", "kind"), [(take, 0xEA), (leave, 0xEB)])
def test_a_push_lock_with_apcs_enabled(crash_of, use, kind: int) -> None:
    locks = []

    def routine(DeviceObject, Irp) -> int:
        locks.append(memory(8, PEX_PUSH_LOCK))
        use(locks[0])
        return finish(Irp)

    found, _ = crash_of(options=MISC, device_control=routine)
    assert (found.code, *found.parameters) == (0xC4, kind, 0, 0, int(locks[0]))


def test_a_push_lock_in_a_critical_region_passes(run_app) -> None:
    def routine(DeviceObject, Irp) -> int:
        lock = memory(8, PEX_PUSH_LOCK)
        KeEnterCriticalRegion()
        ExAcquirePushLockShared(lock)
        ExReleasePushLockShared(lock)
        KeLeaveCriticalRegion()
        return finish(Irp)

    run_app(options=MISC, device_control=routine)


# Remove locks


def remove_lock():
    lock = memory(IO_REMOVE_LOCK.size, PIO_REMOVE_LOCK)
    IoInitializeRemoveLock(lock, 1, 0, 0)
    return lock


def test_a_remove_lock_released_with_another_tag(bugcheck_of) -> None:
    locks = []

    def body() -> None:
        locks.append(remove_lock())
        IoAcquireRemoveLock(locks[0], 0x11)
        IoReleaseRemoveLock(locks[0], 0x22)

    found = bugcheck_of(body, **IO)
    assert (found.code, *found.parameters[:3]) == (0xC4, 0xD5, int(locks[0]), 0x22)


def test_waiting_for_a_remove_lock_with_another_tag(bugcheck_of) -> None:
    locks = []

    def body() -> None:
        locks.append(remove_lock())
        IoAcquireRemoveLock(locks[0], 0x11)
        IoReleaseRemoveLockAndWait(locks[0], 0x22)

    found = bugcheck_of(body, **IO)
    assert (found.code, *found.parameters) == (0xC4, 0xD6, int(locks[0]), 0x22, 0x11)


def test_a_remove_lock_initialized_twice(bugcheck_of) -> None:
    def body() -> None:
        IoInitializeRemoveLock(remove_lock(), 1, 0, 0)

    assert bugcheck_of(body, **IO).parameters[0] == 0xD7


def test_a_remove_lock_with_the_right_tags_passes(run_driver) -> None:
    def body(DriverObject) -> None:
        for _ in range(2):  # a second device may come to lie where the first was
            _, device = IoCreateDevice(DriverObject, 0x40, NULL, FILE_DEVICE_UNKNOWN, 0, FALSE)
            lock = cast(device.DeviceExtension, PIO_REMOVE_LOCK)
            IoInitializeRemoveLock(lock, 1, 0, 0)
            for tag in (1, 2, 2):
                IoAcquireRemoveLock(lock, tag)
            for tag in (2, 1):
                IoReleaseRemoveLock(lock, tag)
            IoReleaseRemoveLockAndWait(lock, 2)
            assert IoAcquireRemoveLock(lock, 3) == STATUS_DELETE_PENDING
            IoDeleteDevice(device)

    run_driver(body, **IO)


# Fast I/O


def raise_level() -> None:
    KeRaiseIrql(DISPATCH_LEVEL)


@pytest.mark.parametrize(
    ("mistake", "code", "kind"),
    [(raise_level, 0xC9, 0x11), (_disable, 0xC4, 0xC3), (KeEnterCriticalRegion, 0xC4, 0xC6)],
)
def test_what_a_fast_io_routine_leaves(crash_of, mistake, code: int, kind: int) -> None:
    def routine(
        FileObject, Wait, Input, InputLength, Output, OutputLength, Code, IoStatus, DeviceObject
    ) -> int:
        cast(IoStatus, IO_STATUS_BLOCK).Status = STATUS_SUCCESS
        mistake()
        return TRUE

    def device(DeviceObject) -> None:
        table = memory(0xE0, FAST_IO_DISPATCH)
        table.SizeOfFastIoDispatch, table.FastIoDeviceControl = 0xE0, routine
        DeviceObject.DriverObject.FastIoDispatch = table

    found, _ = crash_of(options=IO, device=device)
    assert (found.code, found.parameters[0]) == (code, kind)


# WMI, ETW


def test_deleting_a_device_that_is_registered_with_wmi(bugcheck_of) -> None:
    devices = []

    def body(DriverObject) -> None:
        _, device = IoCreateDevice(DriverObject, 0, NULL, FILE_DEVICE_UNKNOWN, 0, FALSE)
        devices.append(int(device))
        IoWMIRegistrationControl(device, 1)
        IoDeleteDevice(device)

    assert bugcheck_of(body, **MISC).parameters == (0xDB, devices[0], 0, 0)


def test_unregistering_an_etw_provider_that_is_none(bugcheck_of) -> None:
    assert bugcheck_of(lambda: EtwUnregister(0x1234), **MISC).parameters[0] == 0xDC


def test_unloading_with_an_etw_provider(ntsim_machine) -> None:
    handles = []

    def DriverEntry(DriverObject, RegistryPath) -> int:
        handles.append(EtwRegister(DEFINE_GUID(1, 2, 3, *range(8)), NULL, NULL)[1])
        DriverObject.DriverUnload = lambda DriverObject: None
        return STATUS_SUCCESS

    machine = ntsim_machine(**MISC)
    driver = machine.load_driver(DriverEntry, name="drv.sys")
    with pytest.raises(BugCheck) as caught:
        machine.unload_driver(driver)
    kind, _, start, handle = caught.value.parameters
    assert (caught.value.code, kind, start, handle) == (0xC4, 0xDD, driver.image.base, handles[0])


def test_unloading_with_a_wmi_callback(ntsim_machine) -> None:
    def callback(Action, Context, Size, Buffer) -> int:
        return STATUS_SUCCESS

    def DriverEntry(DriverObject, RegistryPath) -> int:
        DriverObject.DriverStartIo = callback
        IoWMIRegistrationControl(cast(int(DriverObject.DriverStartIo), PDEVICE_OBJECT), 0x80000001)
        DriverObject.DriverUnload = lambda DriverObject: None
        return STATUS_SUCCESS

    machine = ntsim_machine(**MISC)
    driver = machine.load_driver(DriverEntry, name="drv.sys")
    with pytest.raises(BugCheck) as caught:
        machine.unload_driver(driver)
    assert caught.value.parameters[:2] == (0xDA, driver.image.base)


# MDLs, work items


def test_freeing_an_mdl_that_is_mapped(bugcheck_of) -> None:
    def body() -> None:
        mdl = IoAllocateMdl(memory(64, PVOID, PagedPool), 64, FALSE, FALSE, NULL)
        MmProbeAndLockPages(mdl, KernelMode, IoReadAccess)
        MmMapLockedPagesSpecifyCache(mdl, KernelMode, MmCached, NULL, FALSE, NormalPagePriority)
        IoFreeMdl(mdl)

    assert bugcheck_of(body, **MISC).parameters[0] == 0xB8


def test_unmapping_where_nothing_is_mapped(bugcheck_of) -> None:
    def body() -> None:
        mdl = IoAllocateMdl(memory(64, PVOID, PagedPool), 64, FALSE, FALSE, NULL)
        MmProbeAndLockPages(mdl, KernelMode, IoReadAccess)
        MmUnmapLockedPages(0x10000, mdl)

    assert bugcheck_of(body, **MISC).parameters[:2] == (0xB9, 0x10000)


def test_a_work_item_in_paged_pool(bugcheck_of) -> None:
    items = []

    def body() -> None:
        items.append(memory(WORK_QUEUE_ITEM.size, PWORK_QUEUE_ITEM, PagedPool))
        ExInitializeWorkItem(items[0], lambda Parameter: None, NULL)
        ExQueueWorkItem(items[0], DelayedWorkQueue)

    assert bugcheck_of(body, **MISC).parameters == (0x131, int(items[0]), 0, 0)


# Code integrity


def executable_memory() -> None:
    block = ExAllocatePoolWithTag(NonPagedPoolNx, 16, 1)
    write_bytes(block, struct.pack("<QQ", 0, 0x1000))
    ZwAllocateVirtualMemory(
        ZwCurrentProcess(), block, 0, block + 8, 0x1000, 0x40
    )


def executable_mapping() -> None:
    mdl = IoAllocateMdl(memory(64, PVOID, PagedPool), 64, FALSE, FALSE, NULL)
    MmProbeAndLockPages(mdl, KernelMode, IoReadAccess)
    MmMapLockedPagesSpecifyCache(mdl, KernelMode, MmCached, NULL, FALSE, NormalPagePriority)


@pytest.mark.parametrize(
    ("body", "kind"), [(executable_memory, 0x2001), (executable_mapping, 0x2002)]
)
def test_executable_memory(bugcheck_of, body, kind: int) -> None:
    assert bugcheck_of(body, **INTEGRITY).parameters[0] == kind


def test_a_mapping_that_is_not_executable_passes(run_driver) -> None:
    def body() -> None:
        mdl = IoAllocateMdl(memory(64, PVOID, PagedPool), 64, FALSE, FALSE, NULL)
        MmProbeAndLockPages(mdl, KernelMode, IoReadAccess)
        priority = NormalPagePriority | MdlMappingNoExecute
        MmMapLockedPagesSpecifyCache(mdl, KernelMode, MmCached, NULL, FALSE, priority)

    run_driver(body, **INTEGRITY)


def changed_image(folder: Path, change) -> Path:
    """A copy of a driver whose headers `change(data, section, directory)` has edited."""
    data = bytearray(DRIVER.read_bytes())
    pe = struct.unpack_from("<I", data, 0x3C)[0]
    section = pe + 24 + struct.unpack_from("<H", data, pe + 20)[0]
    change(data, section, pe + 24 + 0x70 + 12 * 8)
    path = folder / "changed.sys"
    path.write_bytes(data)
    return path


def writable(data: bytearray, section: int, directory: int) -> None:
    flags = struct.unpack_from("<I", data, section + 36)[0]
    struct.pack_into("<I", data, section + 36, flags | 0x8000_0000)


def imports_in_code(data: bytearray, section: int, directory: int) -> None:
    address = struct.unpack_from("<I", data, section + 12)[0]
    struct.pack_into("<II", data, directory, address, 8)


@pytest.mark.parametrize(("change", "kind"), [(writable, 0x2003), (imports_in_code, 0x2005)])
def test_images_that_code_integrity_refuses(ntsim_machine, tmp_path, change, kind: int) -> None:
    machine = ntsim_machine(**INTEGRITY)
    with pytest.raises(BugCheck) as caught:
        machine.load_driver(changed_image(tmp_path, change))
    code, _, _, name = caught.value.parameters
    assert (caught.value.code, code) == (0xC4, kind)
    assert machine.nt.mmu.read(name, 6) == b".text\0"


def test_an_image_as_linkers_make_it_passes(ntsim_machine) -> None:
    ntsim_machine(**INTEGRITY).load_driver(DRIVER)
