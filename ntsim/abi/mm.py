"""Memory manager.

Layout: Windows 10 build 19041 x64 public symbols. Bit fields share the named unit they lie in;
the routine that uses one names its mask.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ntsim.abi.scalars import LONG, PVOID, SHORT, UCHAR, ULONG, ULONGLONG, USHORT
from ntsim.abi.structure import Structure, array, at

if TYPE_CHECKING:
    from ntsim.abi.ex import EX_PUSH_LOCK
    from ntsim.abi.ps import PEPROCESS
    from ntsim.abi.rtl import LARGE_INTEGER, LIST_ENTRY, SINGLE_LIST_ENTRY


class PHYSICAL_MEMORY_RANGE(Structure, size=0x10):
    BaseAddress: LARGE_INTEGER = at(0x00)
    NumberOfBytes: LARGE_INTEGER = at(0x08)


class MDL(Structure, size=0x30):
    Next: PMDL = at(0x00)
    Size: SHORT = at(0x08)
    MdlFlags: SHORT = at(0x0A)
    AllocationProcessorNumber: USHORT = at(0x0C)
    Reserved: USHORT = at(0x0E)
    Process: PEPROCESS = at(0x10)
    MappedSystemVa: PVOID = at(0x18)
    StartVa: PVOID = at(0x20)
    ByteCount: ULONG = at(0x28)
    ByteOffset: ULONG = at(0x2C)


class MMPFN(Structure, size=0x30):
    ListEntry: LIST_ENTRY = at(0x00)

    # TreeNode at 0x0: _RTL_BALANCED_NODE
    class _u1(Structure):
        # Active at 0x0: _MI_ACTIVE_PFN
        Next: PVOID = at(0x00)
        NextSlistPfn: SINGLE_LIST_ENTRY = at(0x00)

    u1: _u1 = at(0x00)
    PteAddress: PVOID = at(0x08)
    PteLong: ULONGLONG = at(0x08)
    OriginalPte: ULONGLONG = at(0x10)

    # u2 at 0x18: _MIPFNBLINK
    class _u3(Structure):
        ReferenceCount: USHORT = at(0x00)

        class _e2(Structure):
            ReferenceCount: USHORT = at(0x00)

        e2: _e2 = at(0x00)

        class _e4(Structure):
            EntireField: ULONG = at(0x00)

        e4: _e4 = at(0x00)
        # e1 at 0x2: _MMPFNENTRY1
        # e3 at 0x3: _MMPFNENTRY3

    u3: _u3 = at(0x20)
    NodeBlinkLow: USHORT = at(0x24)
    NodeFlinkLow: UCHAR = at(0x27)
    ViewCount: UCHAR = at(0x27)

    class _u4(Structure):
        EntireField: ULONGLONG = at(0x00)

    u4: _u4 = at(0x28)


class MMVAD_SHORT(Structure, size=0x40):
    Left: PVOID = at(0x00)
    NextVad: PVOID = at(0x00)
    Right: PVOID = at(0x08)
    ParentValue: ULONGLONG = at(0x10)
    StartingVpn: ULONG = at(0x18)
    EndingVpn: ULONG = at(0x1C)
    StartingVpnHigh: UCHAR = at(0x20)
    EndingVpnHigh: UCHAR = at(0x21)
    CommitChargeHigh: UCHAR = at(0x22)
    SpareNT64VadUChar: UCHAR = at(0x23)
    ReferenceCount: LONG = at(0x24)
    PushLock: EX_PUSH_LOCK = at(0x28)
    LongFlags: ULONG = at(0x30)
    LongFlags1: ULONG = at(0x34)
    EventList: PVOID = at(0x38)


class MMVAD(Structure, size=0x88):
    Core: MMVAD_SHORT = at(0x00)
    LongFlags2: ULONG = at(0x40)
    Subsection: PVOID = at(0x48)
    FirstPrototypePte: PVOID = at(0x50)
    LastContiguousPte: PVOID = at(0x58)
    ViewLinks: LIST_ENTRY = at(0x60)
    VadsProcess: PEPROCESS = at(0x70)
    FileObject: PVOID = at(0x80)


class PHYSICAL_MEMORY_RUN(Structure, size=0x10):
    BasePage: ULONGLONG = at(0x00)
    PageCount: ULONGLONG = at(0x08)


class PHYSICAL_MEMORY_DESCRIPTOR(Structure, size=0x20):
    NumberOfRuns: ULONG = at(0x00)
    NumberOfPages: ULONGLONG = at(0x08)
    Run = array("PHYSICAL_MEMORY_RUN", 1, 0x10)


if TYPE_CHECKING:
    PMDL = MDL
    PPHYSICAL_MEMORY_RANGE = PHYSICAL_MEMORY_RANGE
    PMMPFN = MMPFN
    PPHYSICAL_MEMORY_RUN = PHYSICAL_MEMORY_RUN
    PPHYSICAL_MEMORY_DESCRIPTOR = PHYSICAL_MEMORY_DESCRIPTOR
