"""Records of callbacks that drivers register with the kernel: bug checks and NMIs.

Layout: wdm.h.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ntsim.abi.scalars import PVOID, UCHAR, ULONG, ULONG_PTR
from ntsim.abi.structure import Structure, at

if TYPE_CHECKING:
    from ntsim.abi.rtl import GUID, LIST_ENTRY


class KBUGCHECK_CALLBACK_RECORD(Structure, size=0x40):
    Entry: LIST_ENTRY = at(0x00)
    CallbackRoutine: PVOID = at(0x10)
    Buffer: PVOID = at(0x18)
    Length: ULONG = at(0x20)
    Component: PVOID = at(0x28)
    Checksum: ULONG_PTR = at(0x30)
    State: UCHAR = at(0x38)


class KBUGCHECK_REASON_CALLBACK_RECORD(Structure, size=0x30):
    Entry: LIST_ENTRY = at(0x00)
    CallbackRoutine: PVOID = at(0x10)
    Component: PVOID = at(0x18)
    Checksum: ULONG_PTR = at(0x20)
    Reason: ULONG = at(0x28)
    State: UCHAR = at(0x2C)


class KBUGCHECK_SECONDARY_DUMP_DATA(Structure, size=0x30):
    InBuffer: PVOID = at(0x00)
    InBufferLength: ULONG = at(0x08)
    MaximumAllowed: ULONG = at(0x0C)
    Guid: GUID = at(0x10)
    OutBuffer: PVOID = at(0x20)
    OutBufferLength: ULONG = at(0x28)


if TYPE_CHECKING:
    PKBUGCHECK_CALLBACK_RECORD = KBUGCHECK_CALLBACK_RECORD
    PKBUGCHECK_REASON_CALLBACK_RECORD = KBUGCHECK_REASON_CALLBACK_RECORD
    PKBUGCHECK_SECONDARY_DUMP_DATA = KBUGCHECK_SECONDARY_DUMP_DATA
