"""Driver objects: loading, unloading, and the default dispatch routine.

Drivers are started by the service controller's system call: the registry path is the service's key,
DriverEntry runs at PASSIVE_LEVEL in a system thread. Source: WDK DriverEntry, DRIVER_OBJECT;
Windows Internals 7, part 1, chapter 6.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from ntsim.abi import bugcodes, ntstatus
from ntsim.abi import wdm_constants as c
from ntsim.abi.ex import KLDR_DATA_TABLE_ENTRY
from ntsim.abi.io import DRIVER_EXTENSION, DRIVER_OBJECT
from ntsim.abi.rtl import UNICODE_STRING
from ntsim.nt.events import DriverEntryReturned, DriverUnloaded
from ntsim.nt.io.driver_extension import iop_free_extensions
from ntsim.nt.mm.frames import OutOfFrames
from ntsim.nt.mm.integrity import IMAGE_INTEGRITY_FORCED
from ntsim.nt.mm.unloaded import mi_remember_unloaded
from ntsim.nt.mm.variables import mi_variable
from ntsim.nt.ob.namespace import ob_lookup
from ntsim.nt.ob.objects import set_unicode
from ntsim.nt.ps.notify import SYSTEM_MODE_IMAGE, psp_announce_image
from ntsim.nt.ps.system_thread import psp_create_system_thread
from ntsim.nt.rtl import lists

if TYPE_CHECKING:
    from ntsim.nt.kernel import Kernel
    from ntsim.nt.mm.images import Image

IO_TYPE_DRIVER = 4


@dataclass(eq=False, repr=False, slots=True)
class Driver:
    """A loaded driver: its object, image and service name."""

    name: str
    service: str
    image: Image
    object: Any
    status: int = 0
    pool: list[int] = field(default_factory=list)
    unloaded: bool = False
    unload_pending: bool = False

    def __repr__(self) -> str:
        state = ", unloaded" if self.unloaded else ""
        return f"<driver {self.name}, {self.image.file_name} at {self.image.base:#x}{state}>"


HARDWARE_DATABASE = "\\REGISTRY\\MACHINE\\HARDWARE\\DESCRIPTION\\SYSTEM"


def iop_invalid_device_request(nt: Kernel, DeviceObject: Any, Irp: Any) -> int:
    """The default of every MajorFunction entry: fails the IRP."""
    Irp.IoStatus.Status = ntstatus.STATUS_INVALID_DEVICE_REQUEST
    Irp.IoStatus.Information = 0
    nt.io.complete(Irp)
    return ntstatus.STATUS_INVALID_DEVICE_REQUEST


def make_unicode(nt: Kernel, text: str, paged: bool = False, tag: str = "Io  ") -> int:
    """A NUL-terminated UTF-16 copy of `text` in pool."""
    data = text.encode("utf-16-le") + b"\0\0"
    address = nt.ex.pool.allocate(len(data), tag, paged=paged)
    nt.mmu.write(address, data)
    return address


def iop_hardware_database(nt: Kernel) -> int:
    """The UNICODE_STRING that all driver objects point to. Source: kmtests IoDeviceObject_drv.c."""
    at = mi_variable(nt, "CmRegistryMachineHardwareDescriptionSystemName", UNICODE_STRING.size)
    string = UNICODE_STRING.at(nt.mmu, at)
    if not string._v.Buffer:
        set_unicode(string, make_unicode(nt, HARDWARE_DATABASE), len(HARDWARE_DATABASE) * 2)
    return at


def iop_create_driver(nt: Kernel, service: str, image: Image) -> Driver:
    """The driver object \\Driver\\service, every entry set to the default."""
    name = f"\\Driver\\{service}"
    size = DRIVER_OBJECT.size + DRIVER_EXTENSION.size
    body = nt.ob.create(nt.io.driver_type, size, None, "Driv")
    driver = DRIVER_OBJECT.at(nt.mmu, body)
    v = driver._v
    v.Type, v.Size = IO_TYPE_DRIVER, DRIVER_OBJECT.size
    v.Flags = c.DRVO_LEGACY_DRIVER
    v.DriverStart, v.DriverSize = image.base, image.size
    v.DriverInit = image.entry_point
    v.DriverSection = image.owner or 0
    v.DriverExtension = extension = body + DRIVER_OBJECT.size
    DRIVER_EXTENSION.at(nt.mmu, extension)._v.DriverObject = body
    v.HardwareDatabase = iop_hardware_database(nt)
    for major in range(c.IRP_MJ_MAXIMUM_FUNCTION + 1):
        driver.MajorFunction[major] = nt.io.invalid_request
    set_unicode(driver.DriverName, make_unicode(nt, name, paged=True), len(name) * 2)
    driver.DriverName.MaximumLength = len(name) * 2
    key = DRIVER_EXTENSION.at(nt.mmu, extension).ServiceKeyName
    set_unicode(key, make_unicode(nt, service), len(service) * 2)
    made = Driver(name, service, image, driver)
    nt.ob.bodies[body] = made
    nt.io.drivers[body] = made
    nt.ob.attach_name(body, ob_lookup(nt, "\\Driver").body, service)
    return made


def iop_load_unload_driver(nt: Kernel, work: Callable[[], Any]) -> Any:
    """Loading and unloading run in a system worker, which must come back at PASSIVE_LEVEL: 0xE1."""
    result = work()
    level = nt.il.current.cr8
    if level:
        routine = nt.internal_address(iop_load_unload_driver)
        nt.bugcheck(bugcodes.WORKER_THREAD_RETURNED_AT_BAD_IRQL, routine, level, 0, 0)
    return result


def iop_load_driver(nt: Kernel, driver: Driver) -> int:
    """Call DriverEntry; a failure takes everything back. Runs in a system thread."""
    path = f"\\REGISTRY\\MACHINE\\SYSTEM\\ControlSet001\\Services\\{driver.service}"
    registry_path = UNICODE_STRING.at(nt.mmu, nt.allocate_pool(UNICODE_STRING.size, "Io  "))
    text = make_unicode(nt, path)
    set_unicode(registry_path, text, len(path) * 2)
    image = driver.image
    full = f"\\SystemRoot\\system32\\{folder_of(image)}{image.file_name}"
    psp_announce_image(nt, full, image.base, image.size, 0, SYSTEM_MODE_IMAGE)
    nt.vf_load_checks(driver)
    status = nt.call(driver.image.entry_point, driver.object, registry_path) & 0xFFFF_FFFF
    nt.free_pool(text)
    nt.free_pool(int(registry_path))
    nt.emit(DriverEntryReturned, driver.image.file_name, ntstatus.status_name(status))
    driver.status = status
    if ntstatus.NT_SUCCESS(status):
        v = driver.object._v
        v.Flags |= c.DRVO_INITIALIZED
        if DRIVER_EXTENSION.at(nt.mmu, v.DriverExtension)._v.AddDevice:
            v.Flags &= ~c.DRVO_LEGACY_DRIVER
        iop_ready_devices(nt, driver)
        iop_reinitialize(nt)
    else:
        body = int(driver.object)
        nt.io.reinitialize = [each for each in nt.io.reinitialize if each[0] != body]
        iop_remove_driver(nt, driver)
    return status


def iop_reinitialize(nt: Kernel) -> None:
    """Call what drivers registered to run after DriverEntry, which may register again."""
    while nt.io.reinitialize:
        body, routine, context = nt.io.reinitialize.pop(0)
        v = DRIVER_OBJECT.at(nt.mmu, body)._v
        extension = DRIVER_EXTENSION.at(nt.mmu, v.DriverExtension)._v
        extension.Count += 1
        v.Flags &= ~(c.DRVO_REINIT_REGISTERED | c.DRVO_BOOTREINIT_REGISTERED)
        nt.call(routine, body, context, extension.Count)


def iop_ready_devices(nt: Kernel, driver: Driver) -> None:
    """After DriverEntry the system clears DO_DEVICE_INITIALIZING of the driver's devices."""
    device = driver.object.DeviceObject
    while device:
        device._v.Flags &= ~c.DO_DEVICE_INITIALIZING
        device = device.NextDevice


def iop_unload_driver(nt: Kernel, driver: Driver) -> int:
    """Call DriverUnload and remove the image, as stopping the service does.

    While a device of the driver is open or attached to, the unload waits for the last close.
    """
    v = driver.object._v
    if not v.DriverUnload:
        return ntstatus.STATUS_INVALID_DEVICE_REQUEST
    if iop_is_busy(nt, driver):
        driver.unload_pending = True
    else:
        iop_call_unload(nt, driver)
    return ntstatus.STATUS_SUCCESS


def iop_call_unload(nt: Kernel, driver: Driver) -> None:
    """DriverUnload, in a system thread, then the driver object goes."""
    driver.object._v.Flags |= c.DRVO_UNLOAD_INVOKED
    driver.unloaded = True
    nt.call(driver.object._v.DriverUnload, driver.object)
    iop_remove_driver(nt, driver)


def iop_unload_when_idle(nt: Kernel, address: int) -> None:
    """A device was closed: an unload that had to wait for it takes place in a system thread.

    Without memory for one it goes on waiting, for the next close.
    """
    driver = nt.io.drivers.get(address)
    if driver is None or not driver.unload_pending or iop_is_busy(nt, driver):
        return
    work = partial(iop_load_unload_driver, nt, lambda: iop_call_unload(nt, driver))
    try:
        thread = psp_create_system_thread(nt, nt.ps.system, work, 0)
    except OutOfFrames:
        return
    driver.unload_pending = False
    nt.ps.start_thread(thread)


def iop_is_busy(nt: Kernel, driver: Driver) -> bool:
    """Whether a device of the driver is open or has something attached."""
    device = driver.object.DeviceObject
    while device:
        if device._v.ReferenceCount or device._v.AttachedDevice:
            return True
        device = device.NextDevice
    return False


def iop_remove_driver(nt: Kernel, driver: Driver) -> None:
    """The driver object loses its name and one reference.

    Its image leaves memory with the last one, which devices that were left behind hold.
    """
    nt.vf_unload_checks(driver)
    driver.unloaded = True
    nt.ob.remove_name(int(driver.object))
    nt.ob.dereference(int(driver.object))


def iop_delete_driver(nt: Kernel, body: int) -> None:
    """The last reference to a driver object is gone: unmap the image."""
    driver = nt.io.drivers.pop(body)
    v = driver.object._v
    nt.free_pool(v.DriverName_Buffer)
    extension = DRIVER_EXTENSION.at(nt.mmu, v.DriverExtension)
    nt.free_pool(extension._v.ServiceKeyName_Buffer)
    iop_free_extensions(nt, extension)
    nt.emit(DriverUnloaded, driver.image.file_name)
    mi_unload_image(nt, driver.image)


def folder_of(image: Image) -> str:
    """Below system32: the kernel and the HAL lie in it, drivers in drivers."""
    return "" if image.file_name in ("ntoskrnl.exe", "hal.dll") else "drivers\\"


def mi_link_image(nt: Kernel, image: Image) -> None:
    """Enter an image into PsLoadedModuleList."""
    entry = nt.allocate_pool(KLDR_DATA_TABLE_ENTRY.size, "MmLd")
    nt.mmu.write(entry, bytes(KLDR_DATA_TABLE_ENTRY.size))
    ldr = KLDR_DATA_TABLE_ENTRY.at(nt.mmu, entry)
    v = ldr._v
    v.DllBase, v.EntryPoint, v.SizeOfImage = image.base, image.entry_point, image.size
    v.LoadCount = 1
    v.Flags = IMAGE_INTEGRITY_FORCED if image.integrity else 0
    full = f"\\SystemRoot\\system32\\drivers\\{image.file_name}"
    set_unicode(ldr.FullDllName, make_unicode(nt, full, tag="MmLd"), len(full) * 2)
    base = make_unicode(nt, image.file_name, tag="MmLd")
    set_unicode(ldr.BaseDllName, base, len(image.file_name) * 2)
    lists.insert_tail(nt.mmu, nt.module_list, entry)
    image.owner = entry
    nt.images.add(image)


def mi_unload_image(nt: Kernel, image: Image) -> None:
    """Take an image off PsLoadedModuleList and unmap it; its range is remembered for 0xCE."""
    ldr = KLDR_DATA_TABLE_ENTRY.at(nt.mmu, image.owner)
    lists.remove(nt.mmu, image.owner)
    nt.free_pool(ldr._v.FullDllName_Buffer)
    nt.free_pool(ldr._v.BaseDllName_Buffer)
    nt.free_pool(image.owner)
    nt.images.remove(image)
    mi_remember_unloaded(nt, image)
    nt.host.discard(image)
