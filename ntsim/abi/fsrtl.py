"""What file systems share: the tunnel cache, legal characters. Layout: ntifs.h."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ntsim.abi.ex import FAST_MUTEX
from ntsim.abi.rtl import LIST_ENTRY, RTL_SPLAY_LINKS, UNICODE_STRING
from ntsim.abi.scalars import LONGLONG, PVOID, ULONG, ULONGLONG, USHORT
from ntsim.abi.structure import Structure, at


class TUNNEL(Structure, size=0x58):
    Mutex: FAST_MUTEX = at(0x00)
    Cache: PVOID = at(0x38)
    TimerQueue: LIST_ENTRY = at(0x40)
    NumEntries: USHORT = at(0x50)


class TUNNEL_NODE(Structure, size=0x70):
    """An entry of the cache; the two names and the data follow it."""

    CacheLinks: RTL_SPLAY_LINKS = at(0x00)
    ListLinks: LIST_ENTRY = at(0x18)
    CreateTime: LONGLONG = at(0x28)
    DirKey: ULONGLONG = at(0x30)
    Flags: ULONG = at(0x38)
    LongName: UNICODE_STRING = at(0x40)
    ShortName: UNICODE_STRING = at(0x50)
    TunnelData: PVOID = at(0x60)
    TunnelDataLength: ULONG = at(0x68)


if TYPE_CHECKING:
    PTUNNEL = TUNNEL
    PTUNNEL_NODE = TUNNEL_NODE
