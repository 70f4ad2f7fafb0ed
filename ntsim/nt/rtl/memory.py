"""Copying, filling and comparing memory.

Within a page of raw memory the work is done on RAM directly; where a byte is guarded or not mapped,
page by page through checked accesses, so that a fault comes at the byte where the processor would
have met it and everything before it is done. RtlXxxMemory are macros over memxxx, which a driver's
linker takes from the kernel or from its own library. Source: wdm.h; WDK RtlCopyMemory and its page.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from typing import TYPE_CHECKING

from ntsim.abi.memory import MASK64
from ntsim.abi.scalars import INT, LOGICAL, PVOID, SIZE_T, UCHAR, ULONG, ULONGLONG
from ntsim.nt.exports import export

if TYPE_CHECKING:
    from ntsim.hw.mmu import Mmu
    from ntsim.nt.kernel import Kernel

PAGE = 0x1000


def rtl_copy(mmu: Mmu, to: int, source: int, length: int) -> None:
    """Copy; an overlap is handled as memmove does, which on x64 is what memcpy is."""
    host_to, host_source = mmu.raw(to, length), mmu.raw(source, length)
    if host_to is not None and host_source is not None:
        ctypes.memmove(host_to, host_source, length)
        return
    if source < to < source + length:
        mmu.write(to, mmu.read(source, length))
        return
    for a, b, take in pieces(to, source, length):
        mmu.write(a, mmu.read(b, take))


def fill_memory(mmu: Mmu, to: int, value: int, length: int) -> None:
    """Store the low byte of `value` `length` times."""
    offset = to & 0xFFF
    words = mmu.raw_words.get(to >> 12)
    if words is not None and offset + length <= PAGE:
        at = (words << 3) + offset
        mmu.ram.map[at : at + length] = bytes([value & 0xFF]) * length
        return
    host = mmu.raw(to, length)
    if host is not None:
        ctypes.memset(host, value & 0xFF, length)
        return
    byte = bytes([value & 0xFF])
    for at, _, take in pieces(to, to, length):
        mmu.write(at, byte * take)


def rtl_compare(mmu: Mmu, one: int, two: int, length: int) -> tuple[int, int]:
    """(equal bytes at the start, difference of the first unequal pair or 0)."""
    equal = 0
    for a, b, take in pieces(one, two, length):
        left, right = mmu.read(a, take), mmu.read(b, take)
        if left != right:
            at = next(i for i in range(take) if left[i] != right[i])
            return equal + at, left[at] - right[at]
        equal += take
    return equal, 0


def pieces(one: int, two: int, length: int) -> Iterator[tuple[int, int, int]]:
    """Cut two ranges so that no piece crosses a page: (address, address, bytes)."""
    while length > 0:
        take = min(length, PAGE - (one & 0xFFF), PAGE - (two & 0xFFF))
        yield one, two, take
        one, two, length = (one + take) & MASK64, (two + take) & MASK64, length - take


def repeat(nt: Kernel, to: int, pattern: bytes, length: int) -> None:
    """Store `pattern` over and over, whole items only."""
    size = len(pattern)
    for at in range(to, to + length // size * size, size):
        nt.mmu.write(at, pattern)


@export(irql="any", inline=True)
def RtlCopyMemory(nt: Kernel, Destination: PVOID, Source: PVOID, Length: SIZE_T) -> None:
    """Copy Length bytes. Source: WDK RtlCopyMemory."""
    mmu = nt.mmu
    to, at = Destination & 0xFFF, Source & 0xFFF
    if to + Length <= PAGE and at + Length <= PAGE:
        words = mmu.raw_words
        target, origin = words.get(Destination >> 12), words.get(Source >> 12)
        if target is not None and origin is not None:
            to, at, ram = (target << 3) + to, (origin << 3) + at, mmu.ram.map
            ram[to : to + Length] = ram[at : at + Length]
            return
    rtl_copy(mmu, int(Destination), int(Source), Length)


@export(irql="any", inline=True)
def RtlMoveMemory(nt: Kernel, Destination: PVOID, Source: PVOID, Length: SIZE_T) -> None:
    """Copy Length bytes of ranges that may overlap. Source: WDK RtlMoveMemory."""
    RtlCopyMemory(nt, Destination, Source, Length)


@export(irql="any")
def RtlCopyMemoryNonTemporal(nt: Kernel, Destination: PVOID, Source: PVOID, Length: SIZE_T) -> None:
    """Copy Length bytes past the caches. Source: WDK RtlCopyMemoryNonTemporal."""
    RtlCopyMemory(nt, Destination, Source, Length)


@export(irql="any", inline=True)
def RtlFillMemory(nt: Kernel, Destination: PVOID, Length: SIZE_T, Fill: INT) -> None:
    """Store Length times the byte Fill. Source: WDK RtlFillMemory."""
    fill_memory(nt.mmu, int(Destination), Fill, Length)


@export(irql="any", inline=True)
def RtlZeroMemory(nt: Kernel, Destination: PVOID, Length: SIZE_T) -> None:
    """Store Length zero bytes. Source: WDK RtlZeroMemory."""
    fill_memory(nt.mmu, int(Destination), 0, Length)


@export(irql="any", inline=True)
def RtlSecureZeroMemory(nt: Kernel, ptr: PVOID, cnt: SIZE_T) -> PVOID:
    """As RtlZeroMemory, never optimised away; returns ptr. Source: WDK RtlSecureZeroMemory."""
    fill_memory(nt.mmu, int(ptr), 0, cnt)
    return ptr


@export(irql="any", inline=True)
def RtlFillMemoryUlong(nt: Kernel, Destination: PVOID, Length: SIZE_T, Pattern: ULONG) -> None:
    """Fill with a ULONG; Length counts bytes, a rest below four is left. Source: ntifs.h."""
    repeat(nt, int(Destination), (Pattern & 0xFFFF_FFFF).to_bytes(4, "little"), Length)


@export(irql="any", inline=True)
def RtlFillMemoryUlonglong(
    nt: Kernel, Destination: PVOID, Length: SIZE_T, Pattern: ULONGLONG
) -> None:
    """Fill with a ULONGLONG; Length counts bytes, a rest below eight is left. Source: ntifs.h."""
    repeat(nt, int(Destination), (Pattern & MASK64).to_bytes(8, "little"), Length)


@export(irql="any")
def RtlFillMemoryNonTemporal(nt: Kernel, Destination: PVOID, Length: SIZE_T, Value: UCHAR) -> None:
    """As RtlFillMemory, past the caches. Source: WDK RtlFillMemoryNonTemporal."""
    fill_memory(nt.mmu, int(Destination), Value, Length)


@export(irql="any")
def RtlCompareMemory(nt: Kernel, Source1: PVOID, Source2: PVOID, Length: SIZE_T) -> SIZE_T:
    """How many bytes at the start are equal; Length if all are. Source: WDK RtlCompareMemory."""
    return rtl_compare(nt.mmu, int(Source1), int(Source2), Length)[0]


@export(irql="any")
def RtlCompareMemoryUlong(nt: Kernel, Source: PVOID, Length: SIZE_T, Pattern: ULONG) -> SIZE_T:
    """How many bytes at the start repeat Pattern, whole ULONGs of them.

    The documentation wants Source aligned to four bytes; the routine does not look. Source: kmtests
    RtlMemory.c; WDK RtlCompareMemoryUlong.
    """
    wanted = (Pattern & 0xFFFF_FFFF).to_bytes(4, "little")
    whole = Length & ~3
    for done in range(0, whole, 4):
        if nt.mmu.read(int(Source) + done, 4) != wanted:
            return done
    return whole


@export(irql="any", inline=True)
def RtlEqualMemory(nt: Kernel, Source1: PVOID, Source2: PVOID, Length: SIZE_T) -> LOGICAL:
    """TRUE if all Length bytes are equal. Source: WDK RtlEqualMemory."""
    return rtl_compare(nt.mmu, int(Source1), int(Source2), Length)[1] == 0


@export(irql="any")
def RtlIsZeroMemory(nt: Kernel, Buffer: PVOID, Length: SIZE_T) -> LOGICAL:
    """TRUE if all Length bytes are zero. Source: wdm.h."""
    return all(not any(nt.mmu.read(at, take)) for at, _, take in pieces(Buffer, Buffer, Length))


@export(irql="any")
def memcpy(nt: Kernel, Destination: PVOID, Source: PVOID, Count: SIZE_T) -> PVOID:
    """Copy; returns Destination. Source: C run-time library, memcpy."""
    RtlCopyMemory(nt, Destination, Source, Count)
    return Destination


@export(irql="any")
def memmove(nt: Kernel, Destination: PVOID, Source: PVOID, Count: SIZE_T) -> PVOID:
    """Copy ranges that may overlap; returns Destination. Source: C run-time library, memmove."""
    RtlCopyMemory(nt, Destination, Source, Count)
    return Destination


@export(irql="any")
def memset(nt: Kernel, Destination: PVOID, Character: INT, Count: SIZE_T) -> PVOID:
    """Fill; returns Destination. Source: C run-time library, memset."""
    fill_memory(nt.mmu, int(Destination), Character, Count)
    return Destination


@export(irql="any")
def memcmp(nt: Kernel, Buffer1: PVOID, Buffer2: PVOID, Count: SIZE_T) -> INT:
    """Difference of the first unequal bytes, 0 if all are equal. Source: C run-time library."""
    return rtl_compare(nt.mmu, int(Buffer1), int(Buffer2), Count)[1]


@export(irql="any")
def memchr(nt: Kernel, Buffer: PVOID, Character: INT, Count: SIZE_T) -> PVOID:
    """Where the byte occurs first, NULL if nowhere. Source: C run-time library, memchr."""
    for at, _, take in pieces(int(Buffer), int(Buffer), Count):
        found = nt.mmu.read(at, take).find(Character & 0xFF)
        if found >= 0:
            return at + found
    return 0
