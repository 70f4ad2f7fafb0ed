"""The information classes of keys and values, as bytes.

A buffer that does not hold the fixed part is STATUS_BUFFER_TOO_SMALL and stays untouched; one that
holds only some of the rest gets that, with the warning STATUS_BUFFER_OVERFLOW. Source: WDK
KEY_BASIC_INFORMATION, KEY_VALUE_FULL_INFORMATION and their neighbours.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

from ntsim.abi import ntstatus
from ntsim.abi import wdm_constants as c

if TYPE_CHECKING:
    from ntsim.nt.cm.registry import Key, Value
    from ntsim.nt.kernel import Kernel

NO_CLASS = 0xFFFF_FFFF
"""ClassOffset of a key without a class name."""

Information = tuple[int, bytes]
"""(size of the fixed part, all bytes)."""


def utf16(text: str) -> bytes:
    return text.encode("utf-16-le", "surrogatepass")


def longest(texts: list[bytes]) -> int:
    return max(map(len, texts), default=0)


def key_information(key: Key, kind: int) -> Information | None:
    """A key's information of a class; None for a class that is none."""
    name = utf16(key.name)
    subkeys = [utf16(each.name) for each in key.subkeys.values()]
    value_names = [utf16(each.name) for each in key.values.values()]
    data = [each.data for each in key.values.values()]
    if kind == c.KeyBasicInformation:
        return 16, struct.pack("<QII", key.written, 0, len(name)) + name
    if kind == c.KeyNodeInformation:
        return 24, struct.pack("<QIIII", key.written, 0, NO_CLASS, 0, len(name)) + name
    if kind == c.KeyFullInformation:
        counts = (len(subkeys), longest(subkeys), 0, len(data), longest(value_names), longest(data))
        return 44, struct.pack("<Q9I", key.written, 0, NO_CLASS, 0, *counts)
    if kind == c.KeyNameInformation:
        path = utf16(key.path)
        return 4, struct.pack("<I", len(path)) + path
    if kind == c.KeyCachedInformation:
        cached = (len(subkeys), longest(subkeys), len(data), longest(value_names), longest(data))
        return 40, struct.pack("<Q8I", key.written, 0, *cached, len(name), 0)
    return None


def value_information(value: Value, kind: int) -> Information | None:
    """A value's information of a class; None for a class that is none."""
    name, data = utf16(value.name), value.data
    if kind == c.KeyValueBasicInformation:
        return 12, struct.pack("<III", 0, value.type, len(name)) + name
    if kind in (c.KeyValuePartialInformation, c.KeyValuePartialInformationAlign64):
        if kind == c.KeyValuePartialInformationAlign64:
            return 8, struct.pack("<II", value.type, len(data)) + data
        return 12, struct.pack("<III", 0, value.type, len(data)) + data
    if kind in (c.KeyValueFullInformation, c.KeyValueFullInformationAlign64):
        alignment = 4 if kind == c.KeyValueFullInformation else 8
        offset = -(-(20 + len(name)) // alignment) * alignment
        fixed = struct.pack("<IIIII", 0, value.type, offset, len(data), len(name))
        return 20, (fixed + name).ljust(offset, b"\0") + data
    return None


def give(nt: Kernel, information: Information | None, buffer: int, length: int, needed: Any) -> int:
    """Store information in a caller's buffer and its size in `needed`; the status."""
    if information is None:
        return ntstatus.STATUS_INVALID_PARAMETER
    fixed, data = information
    needed[0] = len(data)
    if length < fixed:
        return ntstatus.STATUS_BUFFER_TOO_SMALL
    nt.mmu.write(int(buffer), data[:length])
    return ntstatus.STATUS_BUFFER_OVERFLOW if length < len(data) else ntstatus.STATUS_SUCCESS
