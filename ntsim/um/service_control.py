"""The service control manager, for services that are drivers. pywin32: win32service.

A service is a registry key with the driver's path; starting it is NtLoadDriver, stopping it
NtUnloadDriver. Source: Microsoft Learn "Service Functions".
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ntsim.abi import ntstatus, winerror
from ntsim.abi import win32_constants as w
from ntsim.host.current import caller_error
from ntsim.nt.io.load import iop_find_driver
from ntsim.um import ntdll
from ntsim.um import thread as t
from ntsim.um.current import current_user, handle_value
from ntsim.um.errors import status_error, win32_error

if TYPE_CHECKING:
    from ntsim.um.state import UserMode
    from ntsim.um.thread import UserThread

SERVICES_KEY = "\\Registry\\Machine\\System\\CurrentControlSet\\Services"
_ACCESS_OF_CONTROL = {
    w.SERVICE_CONTROL_STOP: w.SERVICE_STOP,
    w.SERVICE_CONTROL_INTERROGATE: w.SERVICE_INTERROGATE,
}


class SERVICE_STATUS(NamedTuple):
    """A service's status, in pywin32's order."""

    dwServiceType: int
    dwCurrentState: int
    dwControlsAccepted: int
    dwWin32ExitCode: int
    dwServiceSpecificExitCode: int
    dwCheckPoint: int
    dwWaitHint: int


@dataclass(slots=True)
class Opened:
    """What a service-control handle refers to; an empty name is the manager itself."""

    name: str
    access: int


class PySC_HANDLE(int):
    """A handle of the service control manager."""

    def __repr__(self) -> str:
        return f"<PySC_HANDLE:{int(self)}>"


def _open(um: UserMode, name: str, access: int) -> PySC_HANDLE:
    value = 0x2AB_07A9_0000 + 0x30 * um.service_handles_made
    um.service_handles_made += 1
    um.service_handles[value] = Opened(name, access)
    return PySC_HANDLE(value)


def _opened(user: UserThread, funcname: str, handle: Any, access: int, service: bool) -> Opened:
    """The handle's target; raises for a wrong handle or missing access."""
    um: UserMode = user.nt.um
    found: Opened | None = um.service_handles.get(handle_value(handle, funcname))
    if found is None or bool(found.name) != service:
        raise win32_error(user, funcname, winerror.ERROR_INVALID_HANDLE)
    if access & ~found.access:
        raise win32_error(user, funcname, winerror.ERROR_ACCESS_DENIED)
    return found


def _full_access(access: int, everything: int) -> int:
    return everything if access & (w.GENERIC_ALL | w.MAXIMUM_ALLOWED) else access & 0xFFFF_FFFF


def OpenSCManager(machine: str | None, database: str | None, access: int) -> PySC_HANDLE:
    """The service control manager of this machine."""
    user = current_user("OpenSCManager")
    if machine:
        raise win32_error(user, "OpenSCManager", 1722)
    granted = _full_access(access, w.SC_MANAGER_ALL_ACCESS) | w.SC_MANAGER_CONNECT
    if access & w.GENERIC_WRITE:
        granted |= w.SC_MANAGER_CREATE_SERVICE
    return _open(user.nt.um, "", granted)


def CreateService(
    manager: Any,
    name: str,
    display_name: str | None,
    access: int,
    service_type: int,
    start_type: int,
    error_control: int,
    binary_file: str,
    load_order_group: str | None = None,
    fetch_tag: Any = 0,
    dependencies: Any = None,
    account: str | None = None,
    password: str | None = None,
) -> Any:
    """Register a driver; `binary_file` is a .py path, relative ones are looked for beside the app.

    ERROR_SERVICE_EXISTS (1073) if the name is taken.
    """
    user = current_user("CreateService")
    um: UserMode = user.nt.um
    _opened(user, "CreateService", manager, w.SC_MANAGER_CREATE_SERVICE, service=False)
    if not name or "\\" in name or "/" in name:
        raise win32_error(user, "CreateService", winerror.ERROR_INVALID_NAME)
    if service_type != w.SERVICE_KERNEL_DRIVER:
        raise caller_error(
            f"CreateService: type {service_type:#x} is not modelled, only SERVICE_KERNEL_DRIVER"
        )
    if name.lower() in um.marked_services:
        raise win32_error(user, "CreateService", winerror.ERROR_SERVICE_MARKED_FOR_DELETE)
    if _exists(user, name):
        raise win32_error(user, "CreateService", winerror.ERROR_SERVICE_EXISTS)
    key = user.nt.cm.create_service(name, _found_file(user, binary_file))
    for value, content in (("Start", start_type), ("ErrorControl", error_control)):
        user.nt.cm.set(key.path, value, content)
    user.nt.cm.set(key.path, "DisplayName", display_name or name)
    made = _open(um, name, _full_access(access, w.SERVICE_ALL_ACCESS))
    return (made, 0) if fetch_tag else made


def _found_file(user: UserThread, path: str) -> str:
    """An absolute path for a relative one that exists beside the app or above it."""
    plain = path[4:] if path.startswith("\\??\\") else path
    if Path(plain).is_absolute():
        return plain
    app = Path(user.process.image.path)
    for folder in (Path.cwd(), app.parent, app.parent.parent):
        if (folder / plain).is_file():
            return str(folder / plain)
    return plain


def _key(name: str) -> str:
    return f"{SERVICES_KEY}\\{name}"


def _exists(user: UserThread, name: str) -> bool:
    found = user.nt.cm.find(_key(name))
    return found is not None or iop_find_driver(user.nt, name) is not None


def OpenService(manager: Any, name: str, access: int) -> PySC_HANDLE:
    """A handle to a service; ERROR_SERVICE_DOES_NOT_EXIST (1060)."""
    user = current_user("OpenService")
    _opened(user, "OpenService", manager, w.SC_MANAGER_CONNECT, service=False)
    if not _exists(user, name):
        raise win32_error(user, "OpenService", winerror.ERROR_SERVICE_DOES_NOT_EXIST)
    return _open(user.nt.um, name, _full_access(access, w.SERVICE_ALL_ACCESS))


def StartService(service: Any, args: Any = None) -> None:
    """Load the driver. A failure carries the error of DriverEntry's status; why a file could not be
    loaded at all stands in the error's notes."""
    user = current_user("StartService")
    found = _opened(user, "StartService", service, w.SERVICE_START, service=True)
    if found.name.lower() in user.nt.um.marked_services:
        raise win32_error(user, "StartService", winerror.ERROR_SERVICE_MARKED_FOR_DELETE)
    if iop_find_driver(user.nt, found.name) is not None:
        raise win32_error(user, "StartService", winerror.ERROR_SERVICE_ALREADY_RUNNING)
    status = ntdll.NtLoadDriver(_service_name(user, found.name))
    if not ntstatus.NT_SUCCESS(status):
        failed = status_error(user, "StartService", status)
        if user.nt.io.load_error is not None:
            failed.add_note(str(user.nt.io.load_error))
        raise failed


def _service_name(user: UserThread, name: str) -> int:
    """A UNICODE_STRING with the service's registry key, in the scratch page."""
    data = _key(name).encode("utf-16-le")[: t.SMALL_INPUT]
    text = user.put(t.INPUT, data)
    return user.put(t.NAME, struct.pack("<HHxxxxQ", len(data), len(data), text))


def ControlService(service: Any, control: int) -> SERVICE_STATUS:
    """SERVICE_CONTROL_STOP unloads the driver (1052 if it cannot be), INTERROGATE asks."""
    user = current_user("ControlService")
    access = _ACCESS_OF_CONTROL.get(control)
    found = _opened(user, "ControlService", service, access or 0, service=True)
    if access is None:
        raise win32_error(user, "ControlService", winerror.ERROR_INVALID_SERVICE_CONTROL)
    if iop_find_driver(user.nt, found.name) is None:
        raise win32_error(user, "ControlService", winerror.ERROR_SERVICE_NOT_ACTIVE)
    if control == w.SERVICE_CONTROL_STOP:
        status = ntdll.NtUnloadDriver(_service_name(user, found.name))
        if status == ntstatus.STATUS_INVALID_DEVICE_REQUEST:
            raise win32_error(user, "ControlService", winerror.ERROR_INVALID_SERVICE_CONTROL)
        if status >> 30 == 3:
            raise status_error(user, "ControlService", status)
        _sweep(user)
    return _status(user, found.name, stopping=control == w.SERVICE_CONTROL_STOP)


def _status(user: UserThread, name: str, stopping: bool = False) -> SERVICE_STATUS:
    driver = iop_find_driver(user.nt, name)
    if driver is None:
        state, accepted = w.SERVICE_STOPPED, 0
    elif stopping:
        state, accepted = w.SERVICE_STOP_PENDING, 0
    else:
        can_stop = bool(driver.object.DriverUnload)
        state, accepted = w.SERVICE_RUNNING, w.SERVICE_ACCEPT_STOP if can_stop else 0
    return SERVICE_STATUS(w.SERVICE_KERNEL_DRIVER, state, accepted, 0, 0, 0, 0)


def QueryServiceStatus(service: Any) -> SERVICE_STATUS:
    """Whether the driver is loaded, and whether it can be stopped."""
    user = current_user("QueryServiceStatus")
    found = _opened(user, "QueryServiceStatus", service, w.SERVICE_QUERY_STATUS, service=True)
    return _status(user, found.name)


def DeleteService(service: Any) -> None:
    """Remove the service when it is stopped and its last handle is closed."""
    user = current_user("DeleteService")
    found = _opened(user, "DeleteService", service, 0x1_0000, service=True)
    marked: set[str] = user.nt.um.marked_services
    if found.name.lower() in marked:
        raise win32_error(user, "DeleteService", winerror.ERROR_SERVICE_MARKED_FOR_DELETE)
    marked.add(found.name.lower())


def _sweep(user: UserThread) -> None:
    """Delete marked services that nobody uses any more."""
    um: UserMode = user.nt.um
    in_use = {opened.name.lower() for opened in um.service_handles.values()}
    for name in sorted(um.marked_services - in_use):
        if iop_find_driver(user.nt, name) is not None:
            continue
        key = user.nt.cm.find(_key(name))
        if key is not None and not key.subkeys:
            user.nt.cm.delete(key)
        um.marked_services.discard(name)


def CloseServiceHandle(handle: Any) -> None:
    """Close a handle of the manager or of a service."""
    user = current_user("CloseServiceHandle")
    value = handle_value(handle, "CloseServiceHandle")
    if user.nt.um.service_handles.pop(value, None) is None:
        raise win32_error(user, "CloseServiceHandle", winerror.ERROR_INVALID_HANDLE)
    _sweep(user)
