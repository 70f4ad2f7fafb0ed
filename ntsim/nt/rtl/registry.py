"""Registry keys by well-known places: RtlCheckRegistryKey, RtlWriteRegistryValue and neighbours.

Source: WDK RtlQueryRegistryValues for the places; the pages of the routines.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ntsim.abi import ntstatus
from ntsim.abi import wdm_constants as c
from ntsim.abi.scalars import NTSTATUS, PCWSTR, PVOID, ULONG
from ntsim.nt.cm.handles import key_of
from ntsim.nt.exports import export
from ntsim.nt.rtl.text import read_wide

if TYPE_CHECKING:
    from ntsim.nt.cm.registry import Key
    from ntsim.nt.kernel import Kernel

_MACHINE = "\\Registry\\Machine"
_CONTROL_SET = f"{_MACHINE}\\System\\CurrentControlSet"
PLACES = {
    c.RTL_REGISTRY_ABSOLUTE: "",
    c.RTL_REGISTRY_SERVICES: f"{_CONTROL_SET}\\Services",
    c.RTL_REGISTRY_CONTROL: f"{_CONTROL_SET}\\Control",
    c.RTL_REGISTRY_WINDOWS_NT: f"{_MACHINE}\\Software\\Microsoft\\Windows NT\\CurrentVersion",
    c.RTL_REGISTRY_DEVICEMAP: f"{_MACHINE}\\Hardware\\DeviceMap",
    c.RTL_REGISTRY_USER: "\\Registry\\User\\.Default",
}
PLACE_MASK = 0xFF


def rtl_registry_key(
    nt: Kernel, relative_to: int, path: int, create: bool = False
) -> tuple[int, Key | None]:
    """(status, key) that RelativeTo and Path name; with RTL_REGISTRY_HANDLE, Path is a handle."""
    if relative_to & c.RTL_REGISTRY_HANDLE:
        return key_of(nt, int(path))
    place = PLACES.get(relative_to & PLACE_MASK)
    if place is None:
        return ntstatus.STATUS_INVALID_PARAMETER, None
    text = read_wide(nt.mmu, int(path)) if path else ""
    full = f"{place}\\{text}" if place else text
    if not nt.cm.is_absolute(full):
        return ntstatus.STATUS_OBJECT_PATH_SYNTAX_BAD, None
    key = nt.cm.create(full) if create else nt.cm.find(full)
    return (0, key) if key is not None else (ntstatus.STATUS_OBJECT_NAME_NOT_FOUND, None)


@export(irql="== PASSIVE")
def RtlCheckRegistryKey(nt: Kernel, RelativeTo: ULONG, Path: PCWSTR) -> NTSTATUS:
    """STATUS_SUCCESS if the key exists. Source: WDK RtlCheckRegistryKey."""
    return rtl_registry_key(nt, RelativeTo, Path)[0]


@export(irql="== PASSIVE")
def RtlCreateRegistryKey(nt: Kernel, RelativeTo: ULONG, Path: PCWSTR) -> NTSTATUS:
    """Make a key and what is missing above it. Source: WDK RtlCreateRegistryKey."""
    return rtl_registry_key(nt, RelativeTo, Path, create=True)[0]


@export(irql="== PASSIVE")
def RtlWriteRegistryValue(
    nt: Kernel,
    RelativeTo: ULONG,
    Path: PCWSTR,
    ValueName: PCWSTR,
    ValueType: ULONG,
    ValueData: PVOID,
    ValueLength: ULONG,
) -> NTSTATUS:
    """Store a value, making the key if it is missing. Source: WDK RtlWriteRegistryValue."""
    status, key = rtl_registry_key(nt, RelativeTo, Path, create=True)
    if key is None:
        return status
    name = read_wide(nt.mmu, int(ValueName)) if ValueName else ""
    data = nt.mmu.read(int(ValueData), ValueLength) if ValueLength else b""
    nt.cm.write(key, name, ValueType, data)
    return ntstatus.STATUS_SUCCESS


@export(irql="== PASSIVE")
def RtlDeleteRegistryValue(
    nt: Kernel, RelativeTo: ULONG, Path: PCWSTR, ValueName: PCWSTR
) -> NTSTATUS:
    """Delete a value. Source: WDK RtlDeleteRegistryValue."""
    status, key = rtl_registry_key(nt, RelativeTo, Path)
    if key is None:
        return status
    name = read_wide(nt.mmu, int(ValueName)) if ValueName else ""
    if key.values.pop(name.lower(), None) is None:
        return ntstatus.STATUS_OBJECT_NAME_NOT_FOUND
    return ntstatus.STATUS_SUCCESS
