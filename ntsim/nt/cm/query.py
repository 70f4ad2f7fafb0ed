"""ZwQueryKey and ZwEnumerateKey: what a key is and which subkeys it has. Source: WDK."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ntsim.abi import ntstatus
from ntsim.abi.scalars import HANDLE, NTSTATUS, PVOID, ULONG
from ntsim.nt.cm.callbacks import ENUMERATE_KEY, QUERY_KEY, cm_filtered, place
from ntsim.nt.cm.handles import key_of
from ntsim.nt.cm.information import give, key_information
from ntsim.nt.exports import Out, export

if TYPE_CHECKING:
    from ntsim.nt.kernel import Kernel


@export(irql="== PASSIVE")
def ZwQueryKey(
    nt: Kernel,
    KeyHandle: HANDLE,
    KeyInformationClass: ULONG,
    KeyInformation: PVOID,
    Length: ULONG,
    ResultLength: Out[ULONG],
) -> NTSTATUS:
    """A key's name, counts and times, by information class. Source: WDK ZwQueryKey."""

    def query() -> int:
        status, key = key_of(nt, KeyHandle)
        if key is None:
            return status
        found = key_information(key, KeyInformationClass)
        return give(nt, found, KeyInformation, Length, ResultLength)

    fields = (KeyInformationClass, KeyInformation, Length, place(ResultLength))
    return cm_filtered(nt, QUERY_KEY, KeyHandle, fields, query)


@export(irql="== PASSIVE")
def ZwEnumerateKey(
    nt: Kernel,
    KeyHandle: HANDLE,
    Index: ULONG,
    KeyInformationClass: ULONG,
    KeyInformation: PVOID,
    Length: ULONG,
    ResultLength: Out[ULONG],
) -> NTSTATUS:
    """The subkey at Index, in the order of their names. Source: WDK ZwEnumerateKey."""

    def query() -> int:
        status, key = key_of(nt, KeyHandle)
        if key is None:
            return status
        subkeys = key.ordered_subkeys()
        if Index >= len(subkeys):
            return ntstatus.STATUS_NO_MORE_ENTRIES
        found = key_information(subkeys[Index], KeyInformationClass)
        return give(nt, found, KeyInformation, Length, ResultLength)

    fields = (Index, KeyInformationClass, KeyInformation, Length, place(ResultLength))
    return cm_filtered(nt, ENUMERATE_KEY, KeyHandle, fields, query)
