"""The tunnel cache: what a file system remembers of a name for a while after it is gone.

A file that is made anew under a name deleted or renamed seconds ago gets the old one's other name
and data. Entries lie in a splay tree by directory and name, and on a list by age. They go after
fifteen seconds, and the oldest when there are more than 256. The registry values
MaximumTunnelEntryAgeInSeconds and MaximumTunnelEntries below Control\\FileSystem change that; here
they are read at each call, by Windows at boot. Source: WDK FsRtlAddToTunnelCache and its family;
ntifs.h TUNNEL; ReactOS kmtests FsRtlTunnel.c, ntoskrnl/fsrtl/tunnel.c.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ntsim.abi.fsrtl import TUNNEL, TUNNEL_NODE
from ntsim.abi.scalars import BOOLEAN, PVOID, ULONG, ULONGLONG
from ntsim.nt.ex.fast_mutex import (
    ExAcquireFastMutex,
    ExInitializeFastMutex,
    ExReleaseFastMutex,
)
from ntsim.nt.exports import OutOpt, export
from ntsim.nt.rtl import lists, splay
from ntsim.nt.rtl.text import read_unicode
from ntsim.nt.rtl.upcase import upcase

if TYPE_CHECKING:
    from ntsim.abi.fsrtl import PTUNNEL
    from ntsim.abi.rtl import PUNICODE_STRING
    from ntsim.nt.kernel import Kernel

MAX_ENTRIES, MAX_AGE_SECONDS = 256, 15
SETTINGS = "\\Registry\\Machine\\SYSTEM\\CurrentControlSet\\Control\\FileSystem"
KEY_BY_SHORT_NAME, FROM_POOL = 1, 2
LOOKASIDE_SIZE = TUNNEL_NODE.size + 72
"""Entries up to this size come from the tunnels' look-aside list."""

_QUEUE = TUNNEL.offset_of("TimerQueue")
_LINKS = TUNNEL_NODE.offset_of("ListLinks")

Key = tuple[int, str]
"""Directory, and the name in capitals."""


def _setting(nt: Kernel, name: str, default: int) -> int:
    found = nt.cm.get(SETTINGS, name)
    return found if isinstance(found, int) else default


def _max_entries(nt: Kernel) -> int:
    """0 if nothing is to be remembered."""
    if not _setting(nt, "MaximumTunnelEntryAgeInSeconds", MAX_AGE_SECONDS):
        return 0
    return _setting(nt, "MaximumTunnelEntries", MAX_ENTRIES)


def _key(nt: Kernel, node: int) -> Key:
    entry = TUNNEL_NODE.at(nt.mmu, node)
    name = entry.ShortName if entry._v.Flags & KEY_BY_SHORT_NAME else entry.LongName
    return entry._v.DirKey, upcase(read_unicode(nt.mmu, name))


def _find(nt: Kernel, cache: PTUNNEL, key: Key) -> tuple[int, int, int]:
    """(the entry or 0, the one it would hang below, at which side)."""
    node, parent, side = cache._v.Cache, 0, splay.LEFT
    while node:
        found = _key(nt, node)
        if found == key:
            return node, parent, side
        parent, side = node, splay.LEFT if key < found else splay.RIGHT
        node = nt.read_pointer(node + side)
    return 0, parent, side


def _remove(nt: Kernel, cache: PTUNNEL, node: int) -> None:
    cache._v.Cache = splay.delete(nt, node)
    lists.remove(nt.mmu, node + _LINKS)
    cache._v.NumEntries -= 1
    nt.free_pool(node)


def _prune(nt: Kernel, cache: PTUNNEL) -> None:
    """Forget what is too old, or from the future, and the oldest of too many."""
    now = nt.ke.system_time
    age = _setting(nt, "MaximumTunnelEntryAgeInSeconds", MAX_AGE_SECONDS) * 10_000_000
    for link in lists.entries(nt.mmu, int(cache) + _QUEUE):
        if not now - age <= TUNNEL_NODE.at(nt.mmu, link - _LINKS)._v.CreateTime <= now:
            _remove(nt, cache, link - _LINKS)
    while cache._v.NumEntries > _max_entries(nt):
        _remove(nt, cache, nt.read_pointer(int(cache) + _QUEUE) - _LINKS)


def _string(nt: Kernel, string: Any) -> bytes:
    v = string._v if string else None
    return nt.mmu.read(v.Buffer, v.Length) if v is not None and v.Length else b""


def _new_node(nt: Kernel, directory: int, names: tuple[bytes, bytes], data: bytes) -> int:
    """An entry with copies of its long name, short name and data; 0 if memory is short."""
    size = TUNNEL_NODE.size + sum(map(len, names)) + len(data)
    small = size <= LOOKASIDE_SIZE
    tag = "TunL" if small else "TunP"
    node = nt.ex.pool.allocate(LOOKASIDE_SIZE if small else size, tag, paged=True)
    if not node:
        return 0
    nt.mmu.write(node, bytes(TUNNEL_NODE.size))
    splay.initialize(nt, node)
    entry = TUNNEL_NODE.at(nt.mmu, node)
    at = node + TUNNEL_NODE.size
    for string, name in ((entry.ShortName, names[1]), (entry.LongName, names[0])):
        v = string._v
        v.Length = v.MaximumLength = len(name)
        v.Buffer = at if name else 0
        nt.mmu.write(at, name)
        at += len(name)
    nt.mmu.write(at, data)
    v = entry._v
    v.DirKey, v.TunnelData, v.TunnelDataLength = directory, at, len(data)
    v.CreateTime, v.Flags = nt.ke.system_time, 0 if small else FROM_POOL
    return node


@export(irql="<= APC")
def FsRtlInitializeTunnelCache(nt: Kernel, Cache: PTUNNEL) -> None:
    """An empty cache, in nonpaged memory of the caller's. Source: WDK."""
    ExInitializeFastMutex(nt, Cache.Mutex)
    Cache._v.Cache = Cache._v.NumEntries = 0
    lists.initialize(nt.mmu, int(Cache) + _QUEUE)


@export(irql="<= APC")
def FsRtlAddToTunnelCache(
    nt: Kernel,
    Cache: PTUNNEL,
    DirectoryKey: ULONGLONG,
    ShortName: PUNICODE_STRING,
    LongName: PUNICODE_STRING,
    KeyByShortName: BOOLEAN,
    DataLength: ULONG,
    Data: PVOID,
) -> None:
    """Remember a name of a directory that goes, and DataLength bytes; it replaces an older entry.

    KeyByShortName tells which name went. Nothing happens if memory is short. Source: WDK.
    """
    if not _max_entries(nt):
        return
    data = nt.mmu.read(Data, DataLength) if DataLength else b""
    names = (_string(nt, LongName), _string(nt, ShortName))
    node = _new_node(nt, DirectoryKey, names, data)
    if not node:
        return
    if KeyByShortName:
        TUNNEL_NODE.at(nt.mmu, node)._v.Flags |= KEY_BY_SHORT_NAME
    ExAcquireFastMutex(nt, Cache.Mutex)
    key = _key(nt, node)
    old = _find(nt, Cache, key)[0]
    if old:
        _remove(nt, Cache, old)
    _, parent, side = _find(nt, Cache, key)
    if parent:
        splay.attach(nt, parent, side, node)
    else:
        Cache._v.Cache = node
    lists.insert_tail(nt.mmu, int(Cache) + _QUEUE, node + _LINKS)
    Cache._v.NumEntries += 1
    _prune(nt, Cache)
    ExReleaseFastMutex(nt, Cache.Mutex)


def _copy_out(nt: Kernel, string: PUNICODE_STRING, name: bytes, grow: bool) -> None:
    """Store a name; one that is too long is cut, or gets a new buffer from paged pool."""
    v = string._v
    if grow and v.MaximumLength < len(name):
        buffer = nt.ex.pool.allocate(len(name), "TunN", paged=True)
        if not buffer:
            return
        v.Buffer, v.MaximumLength = buffer, len(name)
    v.Length = min(v.MaximumLength, len(name)) & ~1
    nt.mmu.write(v.Buffer, name[: v.Length])


@export(irql="<= APC")
def FsRtlFindInTunnelCache(
    nt: Kernel,
    Cache: PTUNNEL,
    DirectoryKey: ULONGLONG,
    Name: PUNICODE_STRING,
    ShortName: PUNICODE_STRING,
    LongName: PUNICODE_STRING,
    DataLength: OutOpt[ULONG],
    Data: PVOID,
) -> BOOLEAN:
    """Whether a name is remembered, and then its two names and the data, as many bytes as it has.

    A long name for which LongName has no room gets a buffer from paged pool, which the caller
    frees. The entry stays. Source: WDK FsRtlFindInTunnelCache; ReactOS kmtests FsRtlTunnel.c.
    """
    if not _max_entries(nt):
        return False
    ExAcquireFastMutex(nt, Cache.Mutex)
    _prune(nt, Cache)
    node = _find(nt, Cache, (DirectoryKey, upcase(read_unicode(nt.mmu, Name))))[0]
    if node:
        entry = TUNNEL_NODE.at(nt.mmu, node)
        _copy_out(nt, ShortName, _string(nt, entry.ShortName), grow=False)
        _copy_out(nt, LongName, _string(nt, entry.LongName), grow=True)
        length = entry._v.TunnelDataLength
        nt.mmu.write(Data, nt.mmu.read(entry._v.TunnelData, length) if length else b"")
        DataLength[0] = length
    ExReleaseFastMutex(nt, Cache.Mutex)
    return bool(node)


@export(irql="<= APC")
def FsRtlDeleteKeyFromTunnelCache(nt: Kernel, Cache: PTUNNEL, DirectoryKey: ULONGLONG) -> None:
    """Forget everything of a directory, which itself is deleted. Source: WDK."""
    ExAcquireFastMutex(nt, Cache.Mutex)
    for link in lists.entries(nt.mmu, int(Cache) + _QUEUE):
        if TUNNEL_NODE.at(nt.mmu, link - _LINKS)._v.DirKey == DirectoryKey:
            _remove(nt, Cache, link - _LINKS)
    ExReleaseFastMutex(nt, Cache.Mutex)


@export(irql="<= APC")
def FsRtlDeleteTunnelCache(nt: Kernel, Cache: PTUNNEL) -> None:
    """Forget everything, without the lock: the volume is dismounted. Source: WDK."""
    for link in lists.entries(nt.mmu, int(Cache) + _QUEUE):
        nt.free_pool(link - _LINKS)
    Cache._v.Cache = Cache._v.NumEntries = 0
    lists.initialize(nt.mmu, int(Cache) + _QUEUE)
