"""ZwQueryValueKey, ZwSetValueKey, ZwDeleteValueKey: the values of a key. Source: WDK."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ntsim.abi import ntstatus
from ntsim.abi.scalars import HANDLE, NTSTATUS, PVOID, ULONG
from ntsim.nt.cm.callbacks import (
    DELETE_VALUE,
    ENUMERATE_VALUE,
    QUERY_VALUE,
    SET_VALUE,
    cm_filtered,
    place,
)
from ntsim.nt.cm.handles import key_of
from ntsim.nt.cm.information import give, value_information
from ntsim.nt.exports import Out, export
from ntsim.nt.rtl.text import read_unicode

if TYPE_CHECKING:
    from ntsim.abi.rtl import PUNICODE_STRING
    from ntsim.nt.kernel import Kernel


def value_name(nt: Kernel, name: PUNICODE_STRING) -> str:
    """A value's name; NULL and the empty one are the default value's."""
    return read_unicode(nt.mmu, name) if name else ""


@export(irql="== PASSIVE")
def ZwQueryValueKey(
    nt: Kernel,
    KeyHandle: HANDLE,
    ValueName: PUNICODE_STRING,
    KeyValueInformationClass: ULONG,
    KeyValueInformation: PVOID,
    Length: ULONG,
    ResultLength: Out[ULONG],
) -> NTSTATUS:
    """A value's name, type and data, by information class. Source: WDK ZwQueryValueKey."""

    def query() -> int:
        status, key = key_of(nt, KeyHandle)
        if key is None:
            return status
        value = key.values.get(value_name(nt, ValueName).lower())
        if value is None:
            return ntstatus.STATUS_OBJECT_NAME_NOT_FOUND
        found = value_information(value, KeyValueInformationClass)
        return give(nt, found, KeyValueInformation, Length, ResultLength)

    fields = (
        int(ValueName), KeyValueInformationClass, KeyValueInformation, Length,
        place(ResultLength),
    )  # fmt: skip
    return cm_filtered(nt, QUERY_VALUE, KeyHandle, fields, query)


@export(irql="== PASSIVE")
def ZwSetValueKey(
    nt: Kernel,
    KeyHandle: HANDLE,
    ValueName: PUNICODE_STRING,
    TitleIndex: ULONG,
    Type: ULONG,
    Data: PVOID,
    DataSize: ULONG,
) -> NTSTATUS:
    """Create or replace a value; data of any type is stored as it is. Source: WDK ZwSetValueKey."""

    def store() -> int:
        status, key = key_of(nt, KeyHandle)
        if key is None:
            return status
        data = nt.mmu.read(int(Data), DataSize) if DataSize else b""
        nt.cm.write(key, value_name(nt, ValueName), Type, data)
        return ntstatus.STATUS_SUCCESS

    fields = (int(ValueName), TitleIndex, Type, Data, DataSize)
    return cm_filtered(nt, SET_VALUE, KeyHandle, fields, store)


@export(irql="== PASSIVE")
def ZwDeleteValueKey(nt: Kernel, KeyHandle: HANDLE, ValueName: PUNICODE_STRING) -> NTSTATUS:
    """Delete a value. Source: WDK ZwDeleteValueKey."""

    def delete() -> int:
        status, key = key_of(nt, KeyHandle)
        if key is None:
            return status
        if key.values.pop(value_name(nt, ValueName).lower(), None) is None:
            return ntstatus.STATUS_OBJECT_NAME_NOT_FOUND
        return ntstatus.STATUS_SUCCESS

    return cm_filtered(nt, DELETE_VALUE, KeyHandle, (int(ValueName),), delete)


@export(irql="== PASSIVE")
def ZwEnumerateValueKey(
    nt: Kernel,
    KeyHandle: HANDLE,
    Index: ULONG,
    KeyValueInformationClass: ULONG,
    KeyValueInformation: PVOID,
    Length: ULONG,
    ResultLength: Out[ULONG],
) -> NTSTATUS:
    """The value at Index, in the order of creation. Source: WDK ZwEnumerateValueKey."""

    def query() -> int:
        status, key = key_of(nt, KeyHandle)
        if key is None:
            return status
        values = list(key.values.values())
        if Index >= len(values):
            return ntstatus.STATUS_NO_MORE_ENTRIES
        found = value_information(values[Index], KeyValueInformationClass)
        return give(nt, found, KeyValueInformation, Length, ResultLength)

    fields = (Index, KeyValueInformationClass, KeyValueInformation, Length, place(ResultLength))
    return cm_filtered(nt, ENUMERATE_VALUE, KeyHandle, fields, query)
