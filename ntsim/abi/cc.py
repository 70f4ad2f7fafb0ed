"""The cache manager: shared cache maps, views, buffer control blocks, what callers pass.

The shared map and its views are laid out as in Windows 10's public symbols, the fields that the
model keeps. A buffer control block is documented up to its file offset (PUBLIC_BCB); the rest is
ours.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ntsim.abi.scalars import LONG, PVOID, SHORT, UCHAR, ULONG
from ntsim.abi.structure import Structure, array, at

if TYPE_CHECKING:
    from ntsim.abi.ex import ERESOURCE, EX_FAST_REF
    from ntsim.abi.io import PFILE_OBJECT
    from ntsim.abi.ke import KEVENT
    from ntsim.abi.rtl import LARGE_INTEGER, LIST_ENTRY


class CC_FILE_SIZES(Structure, size=0x18):
    AllocationSize: LARGE_INTEGER = at(0x00)
    FileSize: LARGE_INTEGER = at(0x08)
    ValidDataLength: LARGE_INTEGER = at(0x10)


class CACHE_MANAGER_CALLBACKS(Structure, size=0x20):
    AcquireForLazyWrite: PVOID = at(0x00)
    ReleaseFromLazyWrite: PVOID = at(0x08)
    AcquireForReadAhead: PVOID = at(0x10)
    ReleaseFromReadAhead: PVOID = at(0x18)


class CACHE_UNINITIALIZE_EVENT(Structure, size=0x20):
    Next: PCACHE_UNINITIALIZE_EVENT = at(0x00)
    Event: KEVENT = at(0x08)


class PUBLIC_BCB(Structure, size=0x10):
    NodeTypeCode: SHORT = at(0x00)
    NodeByteSize: SHORT = at(0x02)
    MappedLength: ULONG = at(0x04)
    MappedFileOffset: LARGE_INTEGER = at(0x08)


class BCB(Structure, size=0xC0):
    NodeTypeCode: SHORT = at(0x00)
    Dirty: UCHAR = at(0x02)
    Reserved: UCHAR = at(0x03)
    ByteLength: ULONG = at(0x04)
    FileOffset: LARGE_INTEGER = at(0x08)
    BcbLinks: LIST_ENTRY = at(0x10)
    BeyondLastByte: LARGE_INTEGER = at(0x20)
    OldestLsn: LARGE_INTEGER = at(0x28)
    NewestLsn: LARGE_INTEGER = at(0x30)
    Vacb: PVACB = at(0x38)
    PinCount: ULONG = at(0x40)
    Resource: ERESOURCE = at(0x48)
    SharedCacheMap: PSHARED_CACHE_MAP = at(0xB0)
    BaseAddress: PVOID = at(0xB8)


class VACB(Structure, size=0x28):
    BaseAddress: PVOID = at(0x00)
    SharedCacheMap: PSHARED_CACHE_MAP = at(0x08)
    FileOffset: LARGE_INTEGER = at(0x10)
    ArrayHead: PVOID = at(0x20)


class PRIVATE_CACHE_MAP(Structure, size=0x78):
    UlongFlags: ULONG = at(0x00)
    ReadAheadMask: ULONG = at(0x04)
    FileObject: PFILE_OBJECT = at(0x08)
    PrivateLinks: LIST_ENTRY = at(0x60)


class SHARED_CACHE_MAP(Structure, size=0x260):
    NodeTypeCode: SHORT = at(0x00)
    NodeByteSize: SHORT = at(0x02)
    OpenCount: ULONG = at(0x04)
    FileSize: LARGE_INTEGER = at(0x08)
    BcbList: LIST_ENTRY = at(0x10)
    SectionSize: LARGE_INTEGER = at(0x20)
    ValidDataLength: LARGE_INTEGER = at(0x28)
    ValidDataGoal: LARGE_INTEGER = at(0x30)
    InitialVacbs = array("PVOID", 4, 0x38)
    Vacbs: PVOID = at(0x58)
    FileObjectFastRef: EX_FAST_REF = at(0x60)
    DirtyPages: ULONG = at(0x70)
    SharedCacheMapLinks: LIST_ENTRY = at(0x88)
    Flags: ULONG = at(0x98)
    Status: LONG = at(0xA0)
    Callbacks: PCACHE_MANAGER_CALLBACKS = at(0xD8)
    LazyWriteContext: PVOID = at(0xE0)
    PrivateList: LIST_ENTRY = at(0xE8)
    LazyWritePassCount: ULONG = at(0x114)
    UninitializeEvent: PCACHE_UNINITIALIZE_EVENT = at(0x118)


if TYPE_CHECKING:
    PCC_FILE_SIZES = CC_FILE_SIZES
    PCACHE_MANAGER_CALLBACKS = CACHE_MANAGER_CALLBACKS
    PCACHE_UNINITIALIZE_EVENT = CACHE_UNINITIALIZE_EVENT
    PVACB = VACB
    PSHARED_CACHE_MAP = SHARED_CACHE_MAP
