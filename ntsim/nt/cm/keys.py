"""ZwOpenKey, ZwCreateKey, ZwDeleteKey, ZwFlushKey: keys and their handles. Source: WDK."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ntsim.abi import ntstatus
from ntsim.abi import winnt_constants as w
from ntsim.abi.scalars import ACCESS_MASK, HANDLE, NTSTATUS, ULONG
from ntsim.nt.cm.callbacks import (
    CREATE_KEY,
    DELETE_KEY,
    FLUSH_KEY,
    OPEN_KEY,
    cm_filtered,
    cm_filtered_name,
)
from ntsim.nt.cm.handles import key_of, named_key, open_key
from ntsim.nt.exports import Out, OutOpt, export

if TYPE_CHECKING:
    from ntsim.abi.rtl import POBJECT_ATTRIBUTES, PUNICODE_STRING
    from ntsim.nt.cm.registry import Key
    from ntsim.nt.kernel import Kernel


def cm_open(nt: Kernel, key: Key, access: int, attributes: int, handle: Out[HANDLE]) -> int:
    """Store a new handle; the status."""
    handle[0] = made = open_key(nt, key, access, attributes)
    return ntstatus.STATUS_SUCCESS if made else ntstatus.STATUS_INSUFFICIENT_RESOURCES


@export(irql="== PASSIVE")
def ZwOpenKey(
    nt: Kernel,
    KeyHandle: Out[HANDLE],
    DesiredAccess: ACCESS_MASK,
    ObjectAttributes: POBJECT_ATTRIBUTES,
) -> NTSTATUS:
    """A handle to a key that exists. Source: WDK ZwOpenKey."""

    def find() -> int:
        status, base, path = named_key(nt, ObjectAttributes)
        if status:
            return status
        key = nt.cm.find(path, base)
        if key is None:
            return ntstatus.STATUS_OBJECT_NAME_NOT_FOUND
        return cm_open(nt, key, DesiredAccess, ObjectAttributes.Attributes, KeyHandle)

    return cm_filtered_name(nt, OPEN_KEY, ObjectAttributes, (DesiredAccess, 0, 0), KeyHandle, find)


@export(irql="== PASSIVE")
def ZwOpenKeyEx(
    nt: Kernel,
    KeyHandle: Out[HANDLE],
    DesiredAccess: ACCESS_MASK,
    ObjectAttributes: POBJECT_ATTRIBUTES,
    OpenOptions: ULONG,
) -> NTSTATUS:
    """As ZwOpenKey; the options (links, backup) change nothing here. Source: WDK ZwOpenKeyEx."""
    return ZwOpenKey(nt, KeyHandle, DesiredAccess, ObjectAttributes)


@export(irql="== PASSIVE")
def ZwCreateKey(
    nt: Kernel,
    KeyHandle: Out[HANDLE],
    DesiredAccess: ACCESS_MASK,
    ObjectAttributes: POBJECT_ATTRIBUTES,
    TitleIndex: ULONG,
    Class: PUNICODE_STRING,
    CreateOptions: ULONG,
    Disposition: OutOpt[ULONG],
) -> NTSTATUS:
    """Open a key or make it: the last name only, what is above must exist. Source: WDK."""

    def create() -> int:
        status, base, path = named_key(nt, ObjectAttributes)
        if status:
            return status
        above, _, name = path.rstrip("\\").rpartition("\\")
        parent = nt.cm.find(above, base)
        if parent is None:
            return ntstatus.STATUS_OBJECT_NAME_NOT_FOUND
        found = nt.cm.find(path, base)
        key = found if found is not None else nt.cm.subkey(parent, name)
        if Disposition:
            Disposition[0] = w.REG_CREATED_NEW_KEY if found is None else w.REG_OPENED_EXISTING_KEY
        return cm_open(nt, key, DesiredAccess, ObjectAttributes.Attributes, KeyHandle)

    asked = (DesiredAccess, CreateOptions, int(Class))
    return cm_filtered_name(nt, CREATE_KEY, ObjectAttributes, asked, KeyHandle, create)


@export(irql="== PASSIVE")
def ZwDeleteKey(nt: Kernel, KeyHandle: HANDLE) -> NTSTATUS:
    """Delete an open key; STATUS_CANNOT_DELETE if it has subkeys. Source: WDK ZwDeleteKey."""

    def delete() -> int:
        status, key = key_of(nt, KeyHandle)
        if key is None:
            return status
        if key.subkeys or key.parent is None:
            return ntstatus.STATUS_CANNOT_DELETE
        nt.cm.delete(key)
        return ntstatus.STATUS_SUCCESS

    return cm_filtered(nt, DELETE_KEY, KeyHandle, (), delete)


@export(irql="== PASSIVE")
def ZwFlushKey(nt: Kernel, KeyHandle: HANDLE) -> NTSTATUS:
    """Write a key to disk; there is none. Source: WDK ZwFlushKey."""
    return cm_filtered(nt, FLUSH_KEY, KeyHandle, (), lambda: key_of(nt, KeyHandle)[0])
