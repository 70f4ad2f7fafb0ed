"""Bitmaps: RTL_BITMAP, a size in bits and the ULONGs that the caller keeps them in.

Bit n is bit n % 8 of byte n / 8. Ranges are the caller's promise: only queries look at the size. A
search starts at the hint, looks to the end and then from the beginning. Source: WDK "RTL_BITMAP"
routines; ReactOS kmtests RtlBitmap tests.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ntsim.abi.scalars import BOOLEAN, CCHAR, PULONG, ULONG, ULONG_PTR, ULONGLONG
from ntsim.nt.exports import export

if TYPE_CHECKING:
    from ntsim.abi.rtl import PRTL_BITMAP
    from ntsim.nt.kernel import Kernel

NOT_FOUND = 0xFFFF_FFFF


def read_bits(nt: Kernel, bitmap: PRTL_BITMAP) -> int:
    """All bits of the bitmap as one number."""
    v = bitmap._v
    data = nt.mmu.read(v.Buffer, -(-v.SizeOfBitMap // 32) * 4) if v.SizeOfBitMap else b""
    size: int = v.SizeOfBitMap
    return int.from_bytes(data, "little") & (1 << size) - 1


def change_bits(nt: Kernel, bitmap: PRTL_BITMAP, start: int, count: int, value: int) -> None:
    """Set or clear `count` bits from `start` on, touching only the bytes they lie in."""
    if not count:
        return
    address = bitmap._v.Buffer + start // 8
    size = (start % 8 + count + 7) // 8
    bits = int.from_bytes(nt.mmu.read(address, size), "little")
    mask = (1 << count) - 1 << start % 8
    bits = bits | mask if value else bits & ~mask
    nt.mmu.write(address, bits.to_bytes(size, "little"))


def range_is(nt: Kernel, bitmap: PRTL_BITMAP, start: int, count: int, value: int) -> bool:
    """Whether the whole range lies in the bitmap, is not empty and has the value."""
    size = bitmap._v.SizeOfBitMap
    if not count or start >= size or start + count > size:
        return False
    mask = (1 << count) - 1
    return read_bits(nt, bitmap) >> start & mask == (mask if value else 0)


def find(nt: Kernel, bitmap: PRTL_BITMAP, count: int, hint: int, value: int) -> int:
    """Index of the first run of `count` bits with the value, from the hint on, then from 0."""
    size: int = bitmap._v.SizeOfBitMap
    if count > size:
        return NOT_FOUND
    hint = hint if hint < size else 0
    if not count:
        return hint & ~7
    free = read_bits(nt, bitmap)
    if not value:
        free = ~free & (1 << size) - 1
    runs = starts_of_runs(free, count)
    later = runs >> hint << hint
    chosen = later or runs
    return (chosen & -chosen).bit_length() - 1 if chosen else NOT_FOUND


def starts_of_runs(bits: int, count: int) -> int:
    """The bits at which `count` set ones in a row begin."""
    have = 1
    while have < count and bits:
        step = min(have, count - have)
        bits &= bits >> step
        have += step
    return bits


@export(irql="any")
def RtlInitializeBitMap(
    nt: Kernel, BitMapHeader: PRTL_BITMAP, BitMapBuffer: PULONG, SizeOfBitMap: ULONG
) -> None:
    """A bitmap over the caller's buffer, whose bits stay as they are. Source: WDK."""
    v = BitMapHeader._v
    v.SizeOfBitMap, v.Buffer = SizeOfBitMap, int(BitMapBuffer)


@export(irql="<= APC")
def RtlClearAllBits(nt: Kernel, BitMapHeader: PRTL_BITMAP) -> None:
    """Zero every ULONG of the buffer. Source: WDK RtlClearAllBits."""
    v = BitMapHeader._v
    nt.mmu.write(v.Buffer, bytes(-(-v.SizeOfBitMap // 32) * 4))


@export(irql="<= APC")
def RtlSetAllBits(nt: Kernel, BitMapHeader: PRTL_BITMAP) -> None:
    """Fill every ULONG of the buffer, also past the last bit. Source: WDK RtlSetAllBits."""
    v = BitMapHeader._v
    nt.mmu.write(v.Buffer, b"\xff" * (-(-v.SizeOfBitMap // 32) * 4))


@export(irql="<= APC")
def RtlClearBits(
    nt: Kernel, BitMapHeader: PRTL_BITMAP, StartingIndex: ULONG, NumberToClear: ULONG
) -> None:
    """Clear a range. Source: WDK RtlClearBits."""
    change_bits(nt, BitMapHeader, StartingIndex, NumberToClear, 0)


@export(irql="<= APC")
def RtlSetBits(
    nt: Kernel, BitMapHeader: PRTL_BITMAP, StartingIndex: ULONG, NumberToSet: ULONG
) -> None:
    """Set a range. Source: WDK RtlSetBits."""
    change_bits(nt, BitMapHeader, StartingIndex, NumberToSet, 1)


@export(irql="<= APC")
def RtlClearBit(nt: Kernel, BitMapHeader: PRTL_BITMAP, BitNumber: ULONG) -> None:
    """Clear one bit. Source: WDK RtlClearBit."""
    change_bits(nt, BitMapHeader, BitNumber, 1, 0)


@export(irql="<= APC")
def RtlSetBit(nt: Kernel, BitMapHeader: PRTL_BITMAP, BitNumber: ULONG) -> None:
    """Set one bit. Source: WDK RtlSetBit."""
    change_bits(nt, BitMapHeader, BitNumber, 1, 1)


@export(irql="<= APC")
def RtlTestBit(nt: Kernel, BitMapHeader: PRTL_BITMAP, BitNumber: ULONG) -> BOOLEAN:
    """The bit, whatever the bitmap's size. Source: WDK RtlTestBit."""
    byte = nt.mmu.read(BitMapHeader._v.Buffer + BitNumber // 8, 1)[0]
    return bool(byte >> BitNumber % 8 & 1)


@export(irql="<= APC", inline=True)
def RtlCheckBit(nt: Kernel, BitMapHeader: PRTL_BITMAP, BitPosition: ULONG) -> BOOLEAN:
    """RtlTestBit, expanded by the header. Source: WDK RtlCheckBit."""
    return RtlTestBit(nt, BitMapHeader, BitPosition)


@export(irql="<= APC")
def RtlAreBitsClear(
    nt: Kernel, BitMapHeader: PRTL_BITMAP, StartingIndex: ULONG, Length: ULONG
) -> BOOLEAN:
    """TRUE if the range is in the bitmap, not empty and all clear. Source: WDK."""
    return range_is(nt, BitMapHeader, StartingIndex, Length, 0)


@export(irql="<= APC")
def RtlAreBitsSet(
    nt: Kernel, BitMapHeader: PRTL_BITMAP, StartingIndex: ULONG, Length: ULONG
) -> BOOLEAN:
    """TRUE if the range is in the bitmap, not empty and all set. Source: WDK."""
    return range_is(nt, BitMapHeader, StartingIndex, Length, 1)


@export(irql="<= APC")
def RtlFindClearBits(
    nt: Kernel, BitMapHeader: PRTL_BITMAP, NumberToFind: ULONG, HintIndex: ULONG
) -> ULONG:
    """Where so many clear bits begin; 0xFFFFFFFF if nowhere. Source: WDK RtlFindClearBits."""
    return find(nt, BitMapHeader, NumberToFind, HintIndex, 0)


@export(irql="<= APC")
def RtlFindSetBits(
    nt: Kernel, BitMapHeader: PRTL_BITMAP, NumberToFind: ULONG, HintIndex: ULONG
) -> ULONG:
    """Where so many set bits begin; 0xFFFFFFFF if nowhere. Source: WDK RtlFindSetBits."""
    return find(nt, BitMapHeader, NumberToFind, HintIndex, 1)


@export(irql="<= APC")
def RtlFindClearBitsAndSet(
    nt: Kernel, BitMapHeader: PRTL_BITMAP, NumberToFind: ULONG, HintIndex: ULONG
) -> ULONG:
    """RtlFindClearBits, and set what was found. Source: WDK RtlFindClearBitsAndSet."""
    found = find(nt, BitMapHeader, NumberToFind, HintIndex, 0)
    if found != NOT_FOUND:
        change_bits(nt, BitMapHeader, found, NumberToFind, 1)
    return found


@export(irql="<= APC")
def RtlFindSetBitsAndClear(
    nt: Kernel, BitMapHeader: PRTL_BITMAP, NumberToFind: ULONG, HintIndex: ULONG
) -> ULONG:
    """RtlFindSetBits, and clear what was found. Source: WDK RtlFindSetBitsAndClear."""
    found = find(nt, BitMapHeader, NumberToFind, HintIndex, 1)
    if found != NOT_FOUND:
        change_bits(nt, BitMapHeader, found, NumberToFind, 0)
    return found


@export(irql="<= APC")
def RtlNumberOfClearBits(nt: Kernel, BitMapHeader: PRTL_BITMAP) -> ULONG:
    """How many bits are clear. Source: WDK RtlNumberOfClearBits."""
    return int(BitMapHeader._v.SizeOfBitMap) - read_bits(nt, BitMapHeader).bit_count()


@export(irql="<= APC")
def RtlNumberOfSetBits(nt: Kernel, BitMapHeader: PRTL_BITMAP) -> ULONG:
    """How many bits are set. Source: WDK RtlNumberOfSetBits."""
    return read_bits(nt, BitMapHeader).bit_count()


@export(irql="any")
def RtlNumberOfSetBitsUlongPtr(nt: Kernel, Target: ULONG_PTR) -> ULONG:
    """How many bits of a number are set. Source: WDK RtlNumberOfSetBitsUlongPtr."""
    return int(Target).bit_count()


@export(irql="any")
def RtlFindMostSignificantBit(nt: Kernel, Set: ULONGLONG) -> CCHAR:
    """Number of the highest set bit, -1 for zero. Source: WDK RtlFindMostSignificantBit."""
    return Set.bit_length() - 1


@export(irql="any")
def RtlFindLeastSignificantBit(nt: Kernel, Set: ULONGLONG) -> CCHAR:
    """Number of the lowest set bit, -1 for zero. Source: WDK RtlFindLeastSignificantBit."""
    return (Set & -Set).bit_length() - 1
