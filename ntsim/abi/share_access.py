"""SHARE_ACCESS, in which a file system counts the opens of a file. Layout: wdm.h."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ntsim.abi.scalars import ULONG
from ntsim.abi.structure import Structure, at


class SHARE_ACCESS(Structure, size=0x1C):
    OpenCount: ULONG = at(0x00)
    Readers: ULONG = at(0x04)
    Writers: ULONG = at(0x08)
    Deleters: ULONG = at(0x0C)
    SharedRead: ULONG = at(0x10)
    SharedWrite: ULONG = at(0x14)
    SharedDelete: ULONG = at(0x18)


if TYPE_CHECKING:
    PSHARE_ACCESS = SHARE_ACCESS
