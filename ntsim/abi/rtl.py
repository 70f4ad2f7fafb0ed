"""Run-time library and basic structures (ntdef.h, wdm.h).

Layout: Windows 10 build 19041 x64 public symbols. Bit fields share the named unit they lie in;
the routine that uses one names its mask.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ntsim.abi.scalars import (
    CHAR,
    LONG,
    LONGLONG,
    PCHAR,
    PVOID,
    PWCH,
    UCHAR,
    ULONG,
    ULONGLONG,
    USHORT,
)
from ntsim.abi.structure import Structure, array, at


class LIST_ENTRY(Structure, size=0x10):
    Flink: PLIST_ENTRY = at(0x00)
    Blink: PLIST_ENTRY = at(0x08)


class SINGLE_LIST_ENTRY(Structure, size=0x8):
    Next: PSINGLE_LIST_ENTRY = at(0x00)


class SLIST_ENTRY(Structure, size=0x10):
    Next: PSLIST_ENTRY = at(0x00)


class SLIST_HEADER(Structure, size=0x10):
    Alignment: ULONGLONG = at(0x00)
    Region: ULONGLONG = at(0x08)


class UNICODE_STRING(Structure, size=0x10):
    Length: USHORT = at(0x00)
    MaximumLength: USHORT = at(0x02)
    Buffer: PWCH = at(0x08)


class STRING(Structure, size=0x10):
    Length: USHORT = at(0x00)
    MaximumLength: USHORT = at(0x02)
    Buffer: PCHAR = at(0x08)


class LARGE_INTEGER(Structure, size=0x8):
    LowPart: ULONG = at(0x00)
    QuadPart: LONGLONG = at(0x00)

    class _u(Structure):
        LowPart: ULONG = at(0x00)
        HighPart: LONG = at(0x04)

    u: _u = at(0x00)
    HighPart: LONG = at(0x04)


class ULARGE_INTEGER(Structure, size=0x8):
    LowPart: ULONG = at(0x00)
    QuadPart: ULONGLONG = at(0x00)

    class _u(Structure):
        LowPart: ULONG = at(0x00)
        HighPart: ULONG = at(0x04)

    u: _u = at(0x00)
    HighPart: ULONG = at(0x04)


class LUID(Structure, size=0x8):
    LowPart: ULONG = at(0x00)
    HighPart: LONG = at(0x04)


class GUID(Structure, size=0x10):
    Data1: ULONG = at(0x00)
    Data2: USHORT = at(0x04)
    Data3: USHORT = at(0x06)
    Data4 = array("UCHAR", 8, 0x08)


class CLIENT_ID(Structure, size=0x10):
    UniqueProcess: PVOID = at(0x00)
    UniqueThread: PVOID = at(0x08)


class OBJECT_ATTRIBUTES(Structure, size=0x30):
    Length: ULONG = at(0x00)
    RootDirectory: PVOID = at(0x08)
    ObjectName: PUNICODE_STRING = at(0x10)
    Attributes: ULONG = at(0x18)
    SecurityDescriptor: PVOID = at(0x20)
    SecurityQualityOfService: PVOID = at(0x28)


class RTL_BITMAP(Structure, size=0x10):
    SizeOfBitMap: ULONG = at(0x00)
    Buffer: PVOID = at(0x08)


class RTL_BITMAP_RUN(Structure, size=0x8):
    StartingIndex: ULONG = at(0x00)
    NumberOfBits: ULONG = at(0x04)


class RTL_SPLAY_LINKS(Structure, size=0x18):
    Parent: PRTL_SPLAY_LINKS = at(0x00)
    LeftChild: PRTL_SPLAY_LINKS = at(0x08)
    RightChild: PRTL_SPLAY_LINKS = at(0x10)


class RTL_RANGE(Structure, size=0x28):
    """From Start to End inclusive. Layout of the range lists: ReactOS ndk/rtltypes.h."""

    Start: ULONGLONG = at(0x00)
    End: ULONGLONG = at(0x08)
    UserData: PVOID = at(0x10)
    Owner: PVOID = at(0x18)
    Attributes: UCHAR = at(0x20)
    Flags: UCHAR = at(0x21)


class RTL_RANGE_LIST(Structure, size=0x20):
    ListHead: LIST_ENTRY = at(0x00)
    Flags: ULONG = at(0x10)
    Count: ULONG = at(0x14)
    Stamp: ULONG = at(0x18)


class RTL_RANGE_LIST_ITERATOR(Structure, size=0x20):
    RangeListHead: PLIST_ENTRY = at(0x00)
    MergedHead: PLIST_ENTRY = at(0x08)
    Current: PVOID = at(0x10)
    Stamp: ULONG = at(0x18)


class RTL_GENERIC_TABLE(Structure, size=0x48):
    TableRoot: PRTL_SPLAY_LINKS = at(0x00)
    InsertOrderList: LIST_ENTRY = at(0x08)
    OrderedPointer: PLIST_ENTRY = at(0x18)
    WhichOrderedElement: ULONG = at(0x20)
    NumberGenericTableElements: ULONG = at(0x24)
    CompareRoutine: PVOID = at(0x28)
    AllocateRoutine: PVOID = at(0x30)
    FreeRoutine: PVOID = at(0x38)
    TableContext: PVOID = at(0x40)


class RTL_BALANCED_LINKS(Structure, size=0x20):
    Parent: PRTL_BALANCED_LINKS = at(0x00)
    LeftChild: PRTL_BALANCED_LINKS = at(0x08)
    RightChild: PRTL_BALANCED_LINKS = at(0x10)
    Balance: CHAR = at(0x18)


class RTL_AVL_TABLE(Structure, size=0x68):
    BalancedRoot: RTL_BALANCED_LINKS = at(0x00)
    OrderedPointer: PVOID = at(0x20)
    WhichOrderedElement: ULONG = at(0x28)
    NumberGenericTableElements: ULONG = at(0x2C)
    DepthOfTree: ULONG = at(0x30)
    RestartKey: PRTL_BALANCED_LINKS = at(0x38)
    DeleteCount: ULONG = at(0x40)
    CompareRoutine: PVOID = at(0x48)
    AllocateRoutine: PVOID = at(0x50)
    FreeRoutine: PVOID = at(0x58)
    TableContext: PVOID = at(0x60)


class M128A(Structure, size=0x10):
    Low: ULONGLONG = at(0x00)
    High: LONGLONG = at(0x08)


class XSAVE_FORMAT(Structure, size=0x200):
    ControlWord: USHORT = at(0x00)
    StatusWord: USHORT = at(0x02)
    TagWord: UCHAR = at(0x04)
    Reserved1: UCHAR = at(0x05)
    ErrorOpcode: USHORT = at(0x06)
    ErrorOffset: ULONG = at(0x08)
    ErrorSelector: USHORT = at(0x0C)
    Reserved2: USHORT = at(0x0E)
    DataOffset: ULONG = at(0x10)
    DataSelector: USHORT = at(0x14)
    Reserved3: USHORT = at(0x16)
    MxCsr: ULONG = at(0x18)
    MxCsr_Mask: ULONG = at(0x1C)
    FloatRegisters = array("M128A", 8, 0x20)
    XmmRegisters = array("M128A", 16, 0xA0)
    Reserved4 = array("UCHAR", 96, 0x1A0)


class CONTEXT(Structure, size=0x4D0):
    P1Home: ULONGLONG = at(0x00)
    P2Home: ULONGLONG = at(0x08)
    P3Home: ULONGLONG = at(0x10)
    P4Home: ULONGLONG = at(0x18)
    P5Home: ULONGLONG = at(0x20)
    P6Home: ULONGLONG = at(0x28)
    ContextFlags: ULONG = at(0x30)
    MxCsr: ULONG = at(0x34)
    SegCs: USHORT = at(0x38)
    SegDs: USHORT = at(0x3A)
    SegEs: USHORT = at(0x3C)
    SegFs: USHORT = at(0x3E)
    SegGs: USHORT = at(0x40)
    SegSs: USHORT = at(0x42)
    EFlags: ULONG = at(0x44)
    Dr0: ULONGLONG = at(0x48)
    Dr1: ULONGLONG = at(0x50)
    Dr2: ULONGLONG = at(0x58)
    Dr3: ULONGLONG = at(0x60)
    Dr6: ULONGLONG = at(0x68)
    Dr7: ULONGLONG = at(0x70)
    Rax: ULONGLONG = at(0x78)
    Rcx: ULONGLONG = at(0x80)
    Rdx: ULONGLONG = at(0x88)
    Rbx: ULONGLONG = at(0x90)
    Rsp: ULONGLONG = at(0x98)
    Rbp: ULONGLONG = at(0xA0)
    Rsi: ULONGLONG = at(0xA8)
    Rdi: ULONGLONG = at(0xB0)
    R8: ULONGLONG = at(0xB8)
    R9: ULONGLONG = at(0xC0)
    R10: ULONGLONG = at(0xC8)
    R11: ULONGLONG = at(0xD0)
    R12: ULONGLONG = at(0xD8)
    R13: ULONGLONG = at(0xE0)
    R14: ULONGLONG = at(0xE8)
    R15: ULONGLONG = at(0xF0)
    Rip: ULONGLONG = at(0xF8)
    FltSave: XSAVE_FORMAT = at(0x100)
    Header = array("M128A", 2, 0x100)
    Legacy = array("M128A", 8, 0x120)
    Xmm0: M128A = at(0x1A0)
    Xmm1: M128A = at(0x1B0)
    Xmm2: M128A = at(0x1C0)
    Xmm3: M128A = at(0x1D0)
    Xmm4: M128A = at(0x1E0)
    Xmm5: M128A = at(0x1F0)
    Xmm6: M128A = at(0x200)
    Xmm7: M128A = at(0x210)
    Xmm8: M128A = at(0x220)
    Xmm9: M128A = at(0x230)
    Xmm10: M128A = at(0x240)
    Xmm11: M128A = at(0x250)
    Xmm12: M128A = at(0x260)
    Xmm13: M128A = at(0x270)
    Xmm14: M128A = at(0x280)
    Xmm15: M128A = at(0x290)
    VectorRegister = array("M128A", 26, 0x300)
    VectorControl: ULONGLONG = at(0x4A0)
    DebugControl: ULONGLONG = at(0x4A8)
    LastBranchToRip: ULONGLONG = at(0x4B0)
    LastBranchFromRip: ULONGLONG = at(0x4B8)
    LastExceptionToRip: ULONGLONG = at(0x4C0)
    LastExceptionFromRip: ULONGLONG = at(0x4C8)


class EXCEPTION_RECORD(Structure, size=0x98):
    ExceptionCode: LONG = at(0x00)
    ExceptionFlags: ULONG = at(0x04)
    ExceptionRecord: PEXCEPTION_RECORD = at(0x08)
    ExceptionAddress: PVOID = at(0x10)
    NumberParameters: ULONG = at(0x18)
    ExceptionInformation = array("ULONGLONG", 15, 0x20)


class EXCEPTION_POINTERS(Structure, size=0x10):
    ExceptionRecord: PEXCEPTION_RECORD = at(0x00)
    ContextRecord: PCONTEXT = at(0x08)


class KSYSTEM_TIME(Structure, size=0xC):
    LowPart: ULONG = at(0x00)
    High1Time: LONG = at(0x04)
    High2Time: LONG = at(0x08)


class GROUP_AFFINITY(Structure, size=0x10):
    Mask: ULONGLONG = at(0x00)
    Group: USHORT = at(0x08)
    Reserved = array("USHORT", 3, 0x0A)


class PROCESSOR_NUMBER(Structure, size=0x4):
    Group: USHORT = at(0x00)
    Number: UCHAR = at(0x02)
    Reserved: UCHAR = at(0x03)


class NT_TIB(Structure, size=0x38):
    ExceptionList: PVOID = at(0x00)
    StackBase: PVOID = at(0x08)
    StackLimit: PVOID = at(0x10)
    SubSystemTib: PVOID = at(0x18)
    FiberData: PVOID = at(0x20)
    Version: ULONG = at(0x20)
    ArbitraryUserPointer: PVOID = at(0x28)
    Self: PNT_TIB = at(0x30)


if TYPE_CHECKING:
    PLIST_ENTRY = LIST_ENTRY
    PSINGLE_LIST_ENTRY = SINGLE_LIST_ENTRY
    PSLIST_ENTRY = SLIST_ENTRY
    PSLIST_HEADER = SLIST_HEADER
    PUNICODE_STRING = UNICODE_STRING
    PSTRING = STRING
    PLARGE_INTEGER = LARGE_INTEGER
    PULARGE_INTEGER = ULARGE_INTEGER
    PLUID = LUID
    PGUID = GUID
    PCLIENT_ID = CLIENT_ID
    POBJECT_ATTRIBUTES = OBJECT_ATTRIBUTES
    PRTL_BITMAP = RTL_BITMAP
    PRTL_BITMAP_RUN = RTL_BITMAP_RUN
    PM128A = M128A
    PXSAVE_FORMAT = XSAVE_FORMAT
    PCONTEXT = CONTEXT
    PEXCEPTION_RECORD = EXCEPTION_RECORD
    PEXCEPTION_POINTERS = EXCEPTION_POINTERS
    PKSYSTEM_TIME = KSYSTEM_TIME
    PGROUP_AFFINITY = GROUP_AFFINITY
    PPROCESSOR_NUMBER = PROCESSOR_NUMBER
    PNT_TIB = NT_TIB
    PRTL_SPLAY_LINKS = RTL_SPLAY_LINKS
    PRTL_RANGE = RTL_RANGE
    PRTL_RANGE_LIST = RTL_RANGE_LIST
    PRTL_RANGE_LIST_ITERATOR = RTL_RANGE_LIST_ITERATOR
    PRTL_GENERIC_TABLE = RTL_GENERIC_TABLE
    PRTL_BALANCED_LINKS = RTL_BALANCED_LINKS
    PRTL_AVL_TABLE = RTL_AVL_TABLE
