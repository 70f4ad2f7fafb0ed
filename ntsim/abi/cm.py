"""Registry: what the key routines fill in, and the query table. Layout: wdm.h and ntddk.h, x64."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ntsim.abi.scalars import LONGLONG, PVOID, ULONG, USHORT
from ntsim.abi.structure import Structure, array, at


class KEY_BASIC_INFORMATION(Structure, size=0x18):
    LastWriteTime: LONGLONG = at(0x00)
    TitleIndex: ULONG = at(0x08)
    NameLength: ULONG = at(0x0C)
    Name: USHORT = at(0x10)


class KEY_NODE_INFORMATION(Structure, size=0x20):
    LastWriteTime: LONGLONG = at(0x00)
    TitleIndex: ULONG = at(0x08)
    ClassOffset: ULONG = at(0x0C)
    ClassLength: ULONG = at(0x10)
    NameLength: ULONG = at(0x14)
    Name: USHORT = at(0x18)


class KEY_FULL_INFORMATION(Structure, size=0x30):
    LastWriteTime: LONGLONG = at(0x00)
    TitleIndex: ULONG = at(0x08)
    ClassOffset: ULONG = at(0x0C)
    ClassLength: ULONG = at(0x10)
    SubKeys: ULONG = at(0x14)
    MaxNameLen: ULONG = at(0x18)
    MaxClassLen: ULONG = at(0x1C)
    Values: ULONG = at(0x20)
    MaxValueNameLen: ULONG = at(0x24)
    MaxValueDataLen: ULONG = at(0x28)
    Class: USHORT = at(0x2C)


class KEY_NAME_INFORMATION(Structure, size=0x8):
    NameLength: ULONG = at(0x00)
    Name: USHORT = at(0x04)


class KEY_CACHED_INFORMATION(Structure, size=0x28):
    LastWriteTime: LONGLONG = at(0x00)
    TitleIndex: ULONG = at(0x08)
    SubKeys: ULONG = at(0x0C)
    MaxNameLen: ULONG = at(0x10)
    Values: ULONG = at(0x14)
    MaxValueNameLen: ULONG = at(0x18)
    MaxValueDataLen: ULONG = at(0x1C)
    NameLength: ULONG = at(0x20)


class KEY_VALUE_BASIC_INFORMATION(Structure, size=0x10):
    TitleIndex: ULONG = at(0x00)
    Type: ULONG = at(0x04)
    NameLength: ULONG = at(0x08)
    Name: USHORT = at(0x0C)


class KEY_VALUE_FULL_INFORMATION(Structure, size=0x18):
    TitleIndex: ULONG = at(0x00)
    Type: ULONG = at(0x04)
    DataOffset: ULONG = at(0x08)
    DataLength: ULONG = at(0x0C)
    NameLength: ULONG = at(0x10)
    Name: USHORT = at(0x14)


class KEY_VALUE_PARTIAL_INFORMATION(Structure, size=0x10):
    TitleIndex: ULONG = at(0x00)
    Type: ULONG = at(0x04)
    DataLength: ULONG = at(0x08)
    Data = array("UCHAR", 1, 0x0C)


class RTL_QUERY_REGISTRY_TABLE(Structure, size=0x38):
    QueryRoutine: PVOID = at(0x00)
    Flags: ULONG = at(0x08)
    Name: PVOID = at(0x10)
    EntryContext: PVOID = at(0x18)
    DefaultType: ULONG = at(0x20)
    DefaultData: PVOID = at(0x28)
    DefaultLength: ULONG = at(0x30)


if TYPE_CHECKING:
    PKEY_BASIC_INFORMATION = KEY_BASIC_INFORMATION
    PKEY_NODE_INFORMATION = KEY_NODE_INFORMATION
    PKEY_FULL_INFORMATION = KEY_FULL_INFORMATION
    PKEY_NAME_INFORMATION = KEY_NAME_INFORMATION
    PKEY_CACHED_INFORMATION = KEY_CACHED_INFORMATION
    PKEY_VALUE_BASIC_INFORMATION = KEY_VALUE_BASIC_INFORMATION
    PKEY_VALUE_FULL_INFORMATION = KEY_VALUE_FULL_INFORMATION
    PKEY_VALUE_PARTIAL_INFORMATION = KEY_VALUE_PARTIAL_INFORMATION
    PRTL_QUERY_REGISTRY_TABLE = RTL_QUERY_REGISTRY_TABLE
