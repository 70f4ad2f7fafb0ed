"""Miscellaneous checks of WMI and ETW registrations. Source: WDK Bug Check 0xC4, 0xDA to 0xDD."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ntsim.abi import ntstatus
from ntsim.nt.vf.hooks import after, before
from ntsim.nt.vf.notes import Moment, Note

if TYPE_CHECKING:
    from ntsim.nt.kernel import Kernel
    from ntsim.nt.vf.verifier import Verifier


class Registrations:
    """Where ETW providers were registered, by handle."""

    def __init__(self) -> None:
        self.etw: dict[int, Moment] = {}


def registrations(vf: Verifier) -> Registrations:
    found: Registrations = vf.part(Registrations)
    return found


@before("misc", "IoDeleteDevice")
def vi_wmi_device(vf: Verifier, nt: Kernel, DeviceObject: Any) -> None:
    """0xDB: WMI would go on sending IRPs to it."""
    if int(DeviceObject) in nt.wmi_providers:
        why = f"The device {int(DeviceObject):#x} was deleted while it is registered with WMI: "
        why += "IoWMIRegistrationControl with WMIREG_ACTION_DEREGISTER first."
        vf.violation(0xDB, int(DeviceObject), why=why)


@before("misc", "DriverUnload")
def vi_wmi_callback(vf: Verifier, nt: Kernel, driver: Any) -> None:
    """0xDA: a routine of the driver is registered as WMI callback."""
    image = driver.image
    for callback in nt.wmi_providers:
        if callback in image:
            why = f"{image.file_name} unloads while its WMI callback {image.describe(callback)} "
            vf.violation(0xDA, image.base, callback, why=f"{why}is registered.", driver=image.base)


@after("misc", "EtwRegister")
def vi_etw_register(vf: Verifier, result: int, nt: Kernel, *arguments: Any) -> None:
    if result == ntstatus.STATUS_SUCCESS:
        registrations(vf).etw[next(reversed(nt.etw_providers))] = vf.moment()


@before("misc", "EtwUnregister")
def vi_etw_unregister(vf: Verifier, nt: Kernel, RegHandle: int) -> None:
    """0xDC: no provider has this handle."""
    if RegHandle not in nt.etw_providers:
        why = f"EtwUnregister was given {RegHandle:#x}, which EtwRegister did not return."
        vf.violation(0xDC, why=why)
    registrations(vf).etw.pop(RegHandle, None)


@before("misc", "DriverUnload")
def vi_etw_left(vf: Verifier, nt: Kernel, driver: Any) -> None:
    """0xDD: the driver's provider would stay."""
    image = driver.image
    for handle, made in registrations(vf).etw.items():
        callers = [frame.address for frame in made.stack if frame.image is image]
        if callers:
            why = f"{image.file_name} unloads without EtwUnregister of the handle {handle:#x}."
            notes = [Note("The provider was registered.", made)]
            vf.violation(
                0xDD, callers[0], image.base, handle, why=why, notes=notes, driver=image.base
            )
