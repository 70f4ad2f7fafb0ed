"""NtLoadDriver and NtUnloadDriver: a service's driver, by the name of its registry key.

The work is done in a system thread while the caller waits: DriverEntry and DriverUnload run in the
System process. Source: WDK ZwLoadDriver, ZwUnloadDriver.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from ntsim.abi import ntstatus
from ntsim.abi.scalars import NTSTATUS, PVOID
from ntsim.errors import DriverLoadError
from ntsim.nt.ex.arguments import read_unicode_string, system_service
from ntsim.nt.exports import export
from ntsim.nt.io.driver import Driver, iop_unload_driver
from ntsim.nt.ke.wait import WAIT_ANY, ki_wait
from ntsim.nt.mm.frames import OutOfFrames
from ntsim.nt.ps.system_thread import psp_create_system_thread
from ntsim.nt.rtl.text import read_unicode

if TYPE_CHECKING:
    from ntsim.abi.rtl import PUNICODE_STRING
    from ntsim.nt.kernel import Kernel

EXECUTIVE = 0


def iop_in_system_thread(nt: Kernel, work: Callable[[], int]) -> int:
    """Run `work` in a thread of the System process and wait for its status."""
    results: list[int] = []
    try:
        thread = psp_create_system_thread(nt, nt.ps.system, lambda: results.append(work()), 0)
    except OutOfFrames:
        return ntstatus.STATUS_INSUFFICIENT_RESOURCES
    nt.ps.start_thread(thread)
    ki_wait(nt, [thread.va], WAIT_ANY, EXECUTIVE, 0, False, None)
    nt.ob.dereference(thread.va)
    return results[0] if results else ntstatus.STATUS_UNSUCCESSFUL


def iop_find_driver(nt: Kernel, service: str) -> Driver | None:
    """The loaded driver of a service."""
    loaded = nt.io.drivers.values()
    return next((d for d in loaded if d.service.lower() == service.lower()), None)


def iop_load_service(nt: Kernel, key: str) -> int:
    """Load the driver of the service whose registry key is `key`."""
    path = nt.cm.get(key, "ImagePath") if nt.cm.is_absolute(key) else None
    if not isinstance(path, str):
        return ntstatus.STATUS_OBJECT_NAME_NOT_FOUND
    service = key.rpartition("\\")[2]
    nt.io.load_error = None
    if iop_find_driver(nt, service) is not None:
        return ntstatus.STATUS_IMAGE_ALREADY_LOADED

    def load() -> int:
        assert nt.io.loader is not None, "nobody loads driver files"
        try:
            return nt.io.loader(path, service).status
        except DriverLoadError as error:
            nt.io.load_error = error
            return error.status

    return iop_in_system_thread(nt, load)


def iop_unload_service(nt: Kernel, key: str) -> int:
    """Stop the driver of the service whose registry key is `key`."""
    driver = iop_find_driver(nt, key.rpartition("\\")[2])
    if driver is None:
        return ntstatus.STATUS_OBJECT_NAME_NOT_FOUND
    return iop_in_system_thread(nt, lambda: iop_unload_driver(nt, driver))


@system_service
def NtLoadDriver(nt: Kernel, DriverServiceName: PVOID) -> NTSTATUS:
    """Load a driver by its service's registry path. Source: WDK ZwLoadDriver."""
    return iop_load_service(nt, read_unicode_string(nt, DriverServiceName))


@system_service
def NtUnloadDriver(nt: Kernel, DriverServiceName: PVOID) -> NTSTATUS:
    """Unload a driver by its service's registry path. Source: WDK ZwUnloadDriver."""
    return iop_unload_service(nt, read_unicode_string(nt, DriverServiceName))


@export(irql="== PASSIVE")
def ZwLoadDriver(nt: Kernel, DriverServiceName: PUNICODE_STRING) -> NTSTATUS:
    """Load another driver. Source: WDK ZwLoadDriver."""
    return iop_load_service(nt, read_unicode(nt.mmu, DriverServiceName))


@export(irql="== PASSIVE")
def ZwUnloadDriver(nt: Kernel, DriverServiceName: PUNICODE_STRING) -> NTSTATUS:
    """Unload another driver. Source: WDK ZwUnloadDriver."""
    return iop_unload_service(nt, read_unicode(nt.mmu, DriverServiceName))
