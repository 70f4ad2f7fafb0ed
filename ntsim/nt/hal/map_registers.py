"""Map registers: pages that a device reaches, through which a transfer is copied if need be.

The registers of a request are one stretch of memory, whose address is the MapRegisterBase. A
transfer takes the next free ones; the buffer keeps its offset in the page. Whole buffers go through
them if the device does not gather scattered pages, else only what lies beyond its reach. Under DMA
verification everything does. Source: WDK "Map Registers", MapTransfer, FlushAdapterBuffers; ReactOS
hal/halx86/generic/dma.c.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ntsim.abi.large_integer import LargeIntegerValue
from ntsim.abi.scalars import BOOLEAN, LONGLONG, PVOID, ULONG
from ntsim.hw.ram import PAGE_SIZE
from ntsim.nt.exports import Out, export
from ntsim.nt.hal.dma import MAP_REGISTERS, Adapter, Dma, hal_adapter, hal_dma
from ntsim.nt.mm.contiguous import MmFreeContiguousMemory, mi_allocate_contiguous
from ntsim.nt.mm.mdl import mdl_frames, mdl_pages

if TYPE_CHECKING:
    from ntsim.abi.dma import PDMA_ADAPTER
    from ntsim.abi.mm import PMDL
    from ntsim.nt.kernel import Kernel

    PHYSICAL_ADDRESS = LONGLONG
    PULONG = Out[ULONG]

FILLER = 0x0F
"""What DMA verification fills map registers with that hold no data."""


@dataclass(slots=True)
class Mapped:
    """A piece of a buffer that lies in map registers, from number `first` on."""

    va: int
    length: int
    first: int
    writes: bool

    @property
    def count(self) -> int:
        return mdl_pages(self.va, self.length)


@dataclass(slots=True)
class RegisterFile:
    """The map registers of one request: `count` pages at `va`, physical address `pa`."""

    adapter: Adapter
    va: int
    pa: int
    count: int
    mapped: list[Mapped] = field(default_factory=list)

    @property
    def next(self) -> int:
        """The first register that no transfer has."""
        return max((each.first + each.count for each in self.mapped), default=0)

    @property
    def bytes_mapped(self) -> int:
        return sum(each.length for each in self.mapped)


def hal_take_registers(nt: Kernel, adapter: Adapter, count: int) -> int | None:
    """The base of `count` map registers, 0 if the adapter needs none, None if there are none."""
    if not count or not (adapter.copies or adapter.guarded):
        return 0
    dma = hal_dma(nt)
    if dma.used + count > MAP_REGISTERS:
        return None
    va = mi_allocate_contiguous(nt, count * PAGE_SIZE, 0, adapter.limit, 0)
    if not va:
        return None
    pa = nt.mmu.physical(va) or 0
    if adapter.guarded:
        nt.mm.ram.write(pa, bytes([FILLER]) * (count * PAGE_SIZE))
    dma.used += count
    dma.files[va] = RegisterFile(adapter, va, pa, count)
    return va


def hal_give_registers(nt: Kernel, base: int) -> None:
    """Free the map registers of a request."""
    dma = hal_dma(nt)
    file = dma.files.pop(base, None)
    if file is not None:
        dma.used -= file.count
        MmFreeContiguousMemory(nt, base)


def hal_run(frames: list[int], index: int, offset: int, wanted: int) -> tuple[int, int]:
    """Where the buffer lies, and how many of `wanted` bytes are physically contiguous there."""
    pa, length = frames[index] + offset, PAGE_SIZE - offset
    while length < wanted and index + 1 < len(frames):
        if frames[index + 1] != frames[index] + PAGE_SIZE or not frames[index + 1] & 0xFFFF_FFFF:
            break
        index, length = index + 1, length + PAGE_SIZE
    return pa, min(length, wanted)


def hal_map(
    nt: Kernel, adapter: Adapter, mdl: Any, base: int, va: int, wanted: int, writes: bool
) -> tuple[int, int]:
    """The logical address of a piece of a buffer, and how long the piece is."""
    v = mdl._v
    frames = mdl_frames(nt, mdl)
    index, offset = (va >> 12) - (v.StartVa >> 12), va & 0xFFF
    pa, length = hal_run(frames, index, offset, wanted)
    file = hal_dma(nt).files.get(base)
    if file is None:
        return pa, length
    if adapter.guarded or not adapter.gathers:
        beyond = adapter.guarded or length < wanted or pa + wanted - 1 > adapter.limit
        length = wanted if beyond else length
    else:
        beyond = pa + length - 1 > adapter.limit
    if not beyond:
        return pa, length
    first = file.next
    length = min(length, max(0, (file.count - first) * PAGE_SIZE - offset))
    if length:
        piece = Mapped(va, length, first, writes)
        file.mapped.append(piece)
        if writes or adapter.guarded:
            hal_copy(nt, file, piece, frames, v.StartVa, to_device=True)
    return file.pa + first * PAGE_SIZE + offset, length


def hal_copy(
    nt: Kernel, file: RegisterFile, piece: Mapped, frames: list[int], start: int, to_device: bool
) -> None:
    """Copy a piece between the buffer's frames and its map registers."""
    ram, va, left = nt.mm.ram, piece.va, piece.length
    there = file.pa + piece.first * PAGE_SIZE + (va & 0xFFF)
    while left:
        here = frames[(va >> 12) - (start >> 12)] + (va & 0xFFF)
        size = min(left, PAGE_SIZE - (va & 0xFFF))
        if to_device:
            ram.write(there, ram.read(here, size))
        else:
            nt.mm.system.expose(here, size)
            ram.write(here, ram.read(there, size))
        va, there, left = va + size, there + size, left - size


def hal_flush(nt: Kernel, mdl: Any, base: int, va: int, length: int, writes: bool) -> None:
    """The transfer of [va, va+length) is over: bring what was read into the buffer."""
    file = hal_dma(nt).files.get(base)
    if file is None:
        return
    frames, start = mdl_frames(nt, mdl), mdl._v.StartVa
    for piece in [each for each in file.mapped if va <= each.va < va + max(length, 1)]:
        file.mapped.remove(piece)
        whole = Mapped(piece.va, min(piece.length, va + length - piece.va), piece.first, writes)
        if not writes:
            hal_copy(nt, file, whole, frames, start, to_device=False)
        if file.adapter.guarded:
            pages = bytes([FILLER]) * (piece.count * PAGE_SIZE)
            nt.mm.ram.write(file.pa + piece.first * PAGE_SIZE, pages)


@export(irql="<= DISPATCH", inline=True)
def IoMapTransfer(
    nt: Kernel,
    DmaAdapter: PDMA_ADAPTER,
    Mdl: PMDL,
    MapRegisterBase: PVOID,
    CurrentVa: PVOID,
    Length: PULONG,
    WriteToDevice: BOOLEAN,
) -> PHYSICAL_ADDRESS:
    """The logical address for the device; *Length becomes what can be transferred from there.

    For a bus master the driver calls it again for the rest. Source: WDK MapTransfer.
    """
    adapter = hal_adapter(nt, DmaAdapter)
    address, length = hal_map(
        nt, adapter, Mdl, int(MapRegisterBase), int(CurrentVa), Length[0], bool(WriteToDevice)
    )
    Length[0] = length
    return LargeIntegerValue(address)


@export(irql="<= DISPATCH", inline=True)
def IoFlushAdapterBuffers(
    nt: Kernel,
    DmaAdapter: PDMA_ADAPTER,
    Mdl: PMDL,
    MapRegisterBase: PVOID,
    CurrentVa: PVOID,
    Length: ULONG,
    WriteToDevice: BOOLEAN,
) -> BOOLEAN:
    """The device is done: what it wrote into map registers comes into the buffer. TRUE.

    Source: WDK FlushAdapterBuffers.
    """
    hal_adapter(nt, DmaAdapter)
    hal_flush(nt, Mdl, int(MapRegisterBase), int(CurrentVa), Length, bool(WriteToDevice))
    return True


def hal_waiting(dma: Dma) -> Adapter | None:
    """The adapter that has waited longest for map registers."""
    return dma.waiting[0] if dma.waiting else None
