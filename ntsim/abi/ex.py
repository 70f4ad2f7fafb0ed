"""Executive: pools, resources, mutexes, work queues, handle tables, loaded modules.

Layout: Windows 10 build 19041 x64 public symbols. Bit fields share the named unit they lie in;
the routine that uses one names its mask.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ntsim.abi.scalars import LONG, LONGLONG, PVOID, SHORT, UCHAR, ULONG, ULONGLONG, USHORT
from ntsim.abi.structure import Structure, array, at

if TYPE_CHECKING:
    from ntsim.abi.ke import KEVENT
    from ntsim.abi.ps import PEPROCESS
    from ntsim.abi.rtl import LIST_ENTRY, SINGLE_LIST_ENTRY, SLIST_HEADER, UNICODE_STRING


class EX_FAST_REF(Structure, size=0x8):
    Object: PVOID = at(0x00)
    Value: ULONGLONG = at(0x00)


class EX_PUSH_LOCK(Structure, size=0x8):
    Ptr: PVOID = at(0x00)
    Value: ULONGLONG = at(0x00)


class EX_RUNDOWN_REF(Structure, size=0x8):
    Count: ULONGLONG = at(0x00)
    Ptr: PVOID = at(0x00)


class POOL_HEADER(Structure, size=0x10):
    Ulong1: ULONG = at(0x00)
    PoolTag: ULONG = at(0x04)
    AllocatorBackTraceIndex: USHORT = at(0x08)
    ProcessBilled: PEPROCESS = at(0x08)
    PoolTagHash: USHORT = at(0x0A)


class POOL_TRACKER_TABLE(Structure, size=0x38):
    Key: LONG = at(0x00)
    NonPagedBytes: ULONGLONG = at(0x08)
    NonPagedAllocs: ULONGLONG = at(0x10)
    NonPagedFrees: ULONGLONG = at(0x18)
    PagedBytes: ULONGLONG = at(0x20)
    PagedAllocs: ULONGLONG = at(0x28)
    PagedFrees: ULONGLONG = at(0x30)


class FAST_MUTEX(Structure, size=0x38):
    Count: LONG = at(0x00)
    Owner: PVOID = at(0x08)
    Contention: ULONG = at(0x10)
    Event: KEVENT = at(0x18)
    OldIrql: ULONG = at(0x30)


class OWNER_ENTRY(Structure, size=0x10):
    OwnerThread: ULONGLONG = at(0x00)
    TableSize: ULONG = at(0x08)


class ERESOURCE(Structure, size=0x68):
    SystemResourcesList: LIST_ENTRY = at(0x00)
    OwnerTable: POWNER_ENTRY = at(0x10)
    ActiveCount: SHORT = at(0x18)
    Flag: USHORT = at(0x1A)
    ReservedLowFlags: UCHAR = at(0x1A)
    WaiterPriority: UCHAR = at(0x1B)
    SharedWaiters: PVOID = at(0x20)
    ExclusiveWaiters: PVOID = at(0x28)
    OwnerEntry: OWNER_ENTRY = at(0x30)
    ActiveEntries: ULONG = at(0x40)
    ContentionCount: ULONG = at(0x44)
    NumberOfSharedWaiters: ULONG = at(0x48)
    NumberOfExclusiveWaiters: ULONG = at(0x4C)
    Reserved2: PVOID = at(0x50)
    Address: PVOID = at(0x58)
    CreatorBackTraceIndex: ULONGLONG = at(0x58)
    SpinLock: ULONGLONG = at(0x60)


class WORK_QUEUE_ITEM(Structure, size=0x20):
    List: LIST_ENTRY = at(0x00)
    WorkerRoutine: PVOID = at(0x10)
    Parameter: PVOID = at(0x18)


class GENERAL_LOOKASIDE(Structure, size=0x80):
    ListHead: SLIST_HEADER = at(0x00)
    SingleListHead: SINGLE_LIST_ENTRY = at(0x00)
    Depth: USHORT = at(0x10)
    MaximumDepth: USHORT = at(0x12)
    TotalAllocates: ULONG = at(0x14)
    AllocateHits: ULONG = at(0x18)
    AllocateMisses: ULONG = at(0x18)
    TotalFrees: ULONG = at(0x1C)
    FreeHits: ULONG = at(0x20)
    FreeMisses: ULONG = at(0x20)
    Type: LONG = at(0x24)
    Tag: ULONG = at(0x28)
    Size: ULONG = at(0x2C)
    Allocate: PVOID = at(0x30)
    AllocateEx: PVOID = at(0x30)
    Free: PVOID = at(0x38)
    FreeEx: PVOID = at(0x38)
    ListEntry: LIST_ENTRY = at(0x40)
    LastTotalAllocates: ULONG = at(0x50)
    LastAllocateHits: ULONG = at(0x54)
    LastAllocateMisses: ULONG = at(0x54)
    Future = array("ULONG", 2, 0x58)


class NPAGED_LOOKASIDE_LIST(Structure, size=0x80):
    L: GENERAL_LOOKASIDE = at(0x00)


class PAGED_LOOKASIDE_LIST(Structure, size=0x80):
    L: GENERAL_LOOKASIDE = at(0x00)


class GENERAL_LOOKASIDE_POOL(Structure, size=0x60):
    ListHead: SLIST_HEADER = at(0x00)
    SingleListHead: SINGLE_LIST_ENTRY = at(0x00)
    Depth: USHORT = at(0x10)
    MaximumDepth: USHORT = at(0x12)
    TotalAllocates: ULONG = at(0x14)
    AllocateHits: ULONG = at(0x18)
    AllocateMisses: ULONG = at(0x18)
    TotalFrees: ULONG = at(0x1C)
    FreeHits: ULONG = at(0x20)
    FreeMisses: ULONG = at(0x20)
    Type: LONG = at(0x24)
    Tag: ULONG = at(0x28)
    Size: ULONG = at(0x2C)
    Allocate: PVOID = at(0x30)
    AllocateEx: PVOID = at(0x30)
    Free: PVOID = at(0x38)
    FreeEx: PVOID = at(0x38)
    ListEntry: LIST_ENTRY = at(0x40)
    LastTotalAllocates: ULONG = at(0x50)
    LastAllocateHits: ULONG = at(0x54)
    LastAllocateMisses: ULONG = at(0x54)
    Future = array("ULONG", 2, 0x58)


class LOOKASIDE_LIST_EX(Structure, size=0x60):
    L: GENERAL_LOOKASIDE_POOL = at(0x00)


class CALLBACK_OBJECT(Structure, size=0x38):
    Signature: ULONG = at(0x00)
    Lock: ULONGLONG = at(0x08)
    RegisteredCallbacks: LIST_ENTRY = at(0x10)
    AllowMultipleCallbacks: UCHAR = at(0x20)
    ExpCallbackList: LIST_ENTRY = at(0x28)


class CALLBACK_REGISTRATION(Structure, size=0x30):
    Link: LIST_ENTRY = at(0x00)
    CallbackObject: PCALLBACK_OBJECT = at(0x10)
    CallbackFunction: PVOID = at(0x18)
    CallbackContext: PVOID = at(0x20)
    Busy: ULONG = at(0x28)
    UnregisterWaiting: UCHAR = at(0x2C)


class HANDLE_TABLE_FREE_LIST(Structure, size=0x20):
    FreeListLock: EX_PUSH_LOCK = at(0x00)
    FirstFreeHandleEntry: PHANDLE_TABLE_ENTRY = at(0x08)
    LastFreeHandleEntry: PHANDLE_TABLE_ENTRY = at(0x10)
    HandleCount: LONG = at(0x18)
    HighWaterMark: ULONG = at(0x1C)


class HANDLE_TABLE(Structure, size=0x80):
    NextHandleNeedingPool: ULONG = at(0x00)
    ExtraInfoPages: LONG = at(0x04)
    TableCode: ULONGLONG = at(0x08)
    QuotaProcess: PEPROCESS = at(0x10)
    HandleTableList: LIST_ENTRY = at(0x18)
    UniqueProcessId: ULONG = at(0x28)
    Flags: ULONG = at(0x2C)
    HandleContentionEvent: EX_PUSH_LOCK = at(0x30)
    HandleTableLock: EX_PUSH_LOCK = at(0x38)
    ActualEntry = array("UCHAR", 32, 0x40)
    FreeLists = array("HANDLE_TABLE_FREE_LIST", 1, 0x40)
    DebugInfo: PVOID = at(0x60)


class HANDLE_TABLE_ENTRY(Structure, size=0x10):
    InfoTable: PVOID = at(0x00)
    LowValue: LONGLONG = at(0x00)
    RefCountField: LONGLONG = at(0x00)
    VolatileLowValue: LONGLONG = at(0x00)
    HighValue: LONGLONG = at(0x08)
    # LeafHandleValue at 0x8: _EXHANDLE
    NextFreeHandleEntry: PHANDLE_TABLE_ENTRY = at(0x08)
    Spare2: ULONG = at(0x0C)


class KLDR_DATA_TABLE_ENTRY(Structure, size=0xA0):
    InLoadOrderLinks: LIST_ENTRY = at(0x00)
    ExceptionTable: PVOID = at(0x10)
    ExceptionTableSize: ULONG = at(0x18)
    GpValue: PVOID = at(0x20)
    NonPagedDebugInfo: PVOID = at(0x28)
    DllBase: PVOID = at(0x30)
    EntryPoint: PVOID = at(0x38)
    SizeOfImage: ULONG = at(0x40)
    FullDllName: UNICODE_STRING = at(0x48)
    BaseDllName: UNICODE_STRING = at(0x58)
    Flags: ULONG = at(0x68)
    LoadCount: USHORT = at(0x6C)

    class _u1(Structure):
        EntireField: USHORT = at(0x00)

    u1: _u1 = at(0x6E)
    SectionPointer: PVOID = at(0x70)
    CheckSum: ULONG = at(0x78)
    CoverageSectionSize: ULONG = at(0x7C)
    CoverageSection: PVOID = at(0x80)
    LoadedImports: PVOID = at(0x88)
    Spare: PVOID = at(0x90)
    SizeOfImageNotRounded: ULONG = at(0x98)
    TimeDateStamp: ULONG = at(0x9C)


if TYPE_CHECKING:
    PEX_FAST_REF = EX_FAST_REF
    PEX_PUSH_LOCK = EX_PUSH_LOCK
    PEX_RUNDOWN_REF = EX_RUNDOWN_REF
    PPOOL_HEADER = POOL_HEADER
    PPOOL_TRACKER_TABLE = POOL_TRACKER_TABLE
    PFAST_MUTEX = FAST_MUTEX
    POWNER_ENTRY = OWNER_ENTRY
    PERESOURCE = ERESOURCE
    PWORK_QUEUE_ITEM = WORK_QUEUE_ITEM
    PGENERAL_LOOKASIDE = GENERAL_LOOKASIDE
    PNPAGED_LOOKASIDE_LIST = NPAGED_LOOKASIDE_LIST
    PPAGED_LOOKASIDE_LIST = PAGED_LOOKASIDE_LIST
    PLOOKASIDE_LIST_EX = LOOKASIDE_LIST_EX
    PCALLBACK_OBJECT = CALLBACK_OBJECT
    PHANDLE_TABLE = HANDLE_TABLE
    PHANDLE_TABLE_ENTRY = HANDLE_TABLE_ENTRY
    PKLDR_DATA_TABLE_ENTRY = KLDR_DATA_TABLE_ENTRY
