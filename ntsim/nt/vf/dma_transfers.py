"""DMA verification: channels, map registers, transfers and scatter/gather lists, 0xE6.

Source: WDK Bug Check 0xE6, "DMA Verification".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ntsim.abi import wdm_constants as c
from ntsim.hw.ram import PAGE_SIZE
from ntsim.nt.hal.dma import Adapter, hal_adapter, hal_dma
from ntsim.nt.hal.map_registers import Mapped, RegisterFile
from ntsim.nt.hal.scatter_gather import hal_pieces
from ntsim.nt.mm.mdl import mdl_pages
from ntsim.nt.vf.dma import records, vi_dma, vi_wrong
from ntsim.nt.vf.hooks import after, before

if TYPE_CHECKING:
    from ntsim.nt.kernel import Kernel
    from ntsim.nt.vf.verifier import Verifier

LOCKED = c.MDL_PAGES_LOCKED | c.MDL_SOURCE_IS_NONPAGED_POOL | c.MDL_PARTIAL


@before("dma", "IoAllocateAdapterChannel")
def vi_allocate_channel(
    vf: Verifier, nt: Kernel, DmaAdapter: Any, Device: Any, Count: int, *rest: Any
) -> None:
    """0xB: a second channel; 0xC and 0x15: more map registers than the adapter may have."""
    adapter = hal_adapter(nt, DmaAdapter)
    if not adapter.guarded:
        return
    if adapter.channels:
        why = "An adapter channel was asked for while the adapter's only one is allocated."
        vi_dma(vf, 0xB, adapter.channels + 1, why=why)
    if Count > adapter.most:
        why = f"{Count} map registers were asked for: the adapter may have {adapter.most}."
        vi_dma(vf, 0xC, Count, adapter.most, why=why)
    if (total := adapter.registers + Count) > adapter.most:
        why = f"{Count} map registers were asked for and {adapter.registers} are allocated: the "
        vi_dma(vf, 0x15, total, adapter.most, why=f"{why}adapter may have {adapter.most} in all.")


@before("dma", "IoFreeAdapterChannel")
def vi_free_channel(vf: Verifier, nt: Kernel, DmaAdapter: Any) -> None:
    """0x4: more than were allocated; 0x10: map registers that hold data go with it."""
    adapter = hal_adapter(nt, DmaAdapter)
    if not adapter.guarded:
        return
    if not adapter.channels:
        vi_dma(vf, 0x4, 1, why="An adapter channel was freed, and none is allocated.")
    if adapter.held:
        vi_registers_go(vf, nt, adapter.base)


@before("dma", "IoFreeMapRegisters")
def vi_free_registers(
    vf: Verifier, nt: Kernel, DmaAdapter: Any, MapRegisterBase: int, Count: int
) -> None:
    """0x5: more than are allocated; 0x10: some hold data."""
    adapter = hal_adapter(nt, DmaAdapter)
    if not adapter.guarded:
        return
    if (extra := Count - adapter.registers) > 0:
        why = f"{Count} map registers were freed, and {adapter.registers} are allocated."
        vi_dma(vf, 0x5, extra, why=why)
    vi_registers_go(vf, nt, int(MapRegisterBase))


def vi_registers_go(vf: Verifier, nt: Kernel, base: int) -> None:
    """0x10: a transfer was not flushed; 0xF with 3: a free register was written."""
    file = hal_dma(nt).files.get(base)
    if file is None:
        return
    if file.mapped:
        count = sum(each.count for each in file.mapped)
        why = f"Map registers were freed while {count} of them are mapped: FlushAdapterBuffers "
        vi_dma(vf, 0x10, count, why=f"{why}first.")
    wrong = vi_wrong(nt.mmu.read(file.va, file.count * PAGE_SIZE))
    if wrong is not None:
        why = f"A map register that holds no data was written, at {file.va + wrong:#x}."
        vi_dma(vf, 0xF, 3, file.va + wrong, why=why)


def vi_mdl_range(v: Any) -> tuple[int, int]:
    """First address of an MDL's buffer, and the one after the last."""
    start = v.StartVa + v.ByteOffset
    return start, start + v.ByteCount


def vi_locked(vf: Verifier, mdl: Any) -> None:
    """0xE: the pages of the buffer may go away during the transfer."""
    if not mdl._v.MdlFlags & LOCKED:
        why = f"{vf.routine} was given the MDL {int(mdl):#x}, whose pages are not locked."
        vi_dma(vf, 0xE, int(mdl), why=why)


def vi_zero(vf: Verifier, adapter: Adapter, length: int) -> None:
    if not length:
        data = records(vf)[adapter.address].data
        vi_dma(vf, 0x21, data, why=f"{vf.routine} was asked to map 0 bytes.")


def vi_in_mdl(vf: Verifier, mdl: Any, va: int, length: int) -> None:
    """0x1B: an address that the MDL does not describe."""
    start, end = vi_mdl_range(mdl._v)
    if not start <= va < end or va + length > end:
        bad = va if not start <= va < end else va + length
        why = f"{vf.routine} was given {va:#x}, {length} bytes: the MDL describes {start:#x} to "
        vi_dma(vf, 0x1B, bad, int(mdl), why=f"{why}{end:#x}.")


@before("dma", "IoMapTransfer")
def vi_map(
    vf: Verifier, nt: Kernel, DmaAdapter: Any, Mdl: Any, Base: int, CurrentVa: int, Length: Any,
    Writes: int,
) -> None:  # fmt: skip
    """What is mapped: 0x21, 0xE, 0x1B, 0x1D; and whether it fits: 0xD, 0 with 2."""
    adapter = hal_adapter(nt, DmaAdapter)
    if not adapter.guarded:
        return
    va, length = int(CurrentVa), Length[0]
    vi_zero(vf, adapter, length)
    vi_locked(vf, Mdl)
    vi_in_mdl(vf, Mdl, va, length)
    for piece in (p for f in hal_dma(nt).files.values() if f.adapter is adapter for p in f.mapped):
        if piece.va < va + length and va < piece.va + piece.length:
            why = f"{va:#x} to {va + length:#x} was mapped; {piece.va:#x} is mapped already."
            vi_dma(vf, 0x1D, va, va + length, max(va, piece.va), why=why)
    file = hal_dma(nt).files.get(int(Base))
    if file is None:
        return
    total, most = file.bytes_mapped + length, file.count * PAGE_SIZE
    if total > most:
        why = f"{total} bytes are mapped and not flushed: {file.count} map registers hold {most}."
        vi_dma(vf, 0xD, total, most, why=why)
    needed, left = mdl_pages(va, length), file.count - file.next
    if needed > left:
        why = f"The transfer needs {needed} map registers, and {left} are left."
        vi_dma(vf, 0x0, 2, needed, left, why=why)


@before("dma", "IoFlushAdapterBuffers")
def vi_flush(
    vf: Verifier, nt: Kernel, DmaAdapter: Any, Mdl: Any, Base: int, CurrentVa: int, Length: int,
    Writes: int,
) -> None:  # fmt: skip
    """0x1B; 0x20, 0x16: nothing is mapped, or not this; 0 with 1: more than was mapped; 0xF."""
    adapter = hal_adapter(nt, DmaAdapter)
    if not adapter.guarded:
        return
    va = int(CurrentVa)
    vi_in_mdl(vf, Mdl, va, Length)
    file = hal_dma(nt).files.get(int(Base))
    if file is None or not file.mapped:
        why = f"FlushAdapterBuffers was called for {va:#x}: nothing is in the map registers."
        vi_dma(vf, 0x20, int(Base), va, int(Mdl), why=why)
    piece = next((p for p in file.mapped if p.va <= va < p.va + p.length), None)
    if piece is None:
        why = f"FlushAdapterBuffers was called for {va:#x}, which is not mapped."
        vi_dma(vf, 0x16, file.va, records(vf)[adapter.address].data, why=why)
    end = max(p.va + p.length for p in file.mapped)
    if va + Length > end:
        left = vi_mdl_range(Mdl._v)[1] - end
        why = f"{Length} bytes from {va:#x} were flushed, of which {end - va} are mapped."
        vi_dma(vf, 0x0, 1, left, va + Length - end, why=why)
    for each in file.mapped:
        if va <= each.va < va + Length:
            vi_padding(vf, nt, file, each)


def vi_padding(vf: Verifier, nt: Kernel, file: RegisterFile, piece: Mapped) -> None:
    """0xF with 4 or 5: the device wrote into the page of a buffer, beside it."""
    first = file.va + piece.first * PAGE_SIZE
    start = first + (piece.va & 0xFFF)
    end, stop = start + piece.length, first + piece.count * PAGE_SIZE
    for kind, side, at, till in ((4, "before", first, start), (5, "after", end, stop)):
        wrong = vi_wrong(nt.mmu.read(at, till - at), last=kind == 4) if till > at else None
        if wrong is not None:
            why = f"The device wrote {side} the {piece.length}-byte buffer at {piece.va:#x} that "
            why += f"was mapped, at {at + wrong:#x} of its map register."
            vi_dma(vf, 0xF, kind, start, at + wrong, why=why)


# Scatter/gather lists


@before("dma", "HalGetScatterGatherList HalBuildScatterGatherList")
def vi_get_list(
    vf: Verifier, nt: Kernel, DmaAdapter: Any, Device: Any, Mdl: Any, CurrentVa: int, Length: int,
    *rest: Any,
) -> None:  # fmt: skip
    """0x21, 0xE; 0x1F: outside the first MDL; 0x24: the chain of MDLs is shorter."""
    adapter = hal_adapter(nt, DmaAdapter)
    if not adapter.guarded:
        return
    va = int(CurrentVa)
    vi_zero(vf, adapter, Length)
    vi_locked(vf, Mdl)
    start, end = vi_mdl_range(Mdl._v)
    if not start <= va < end:
        kind, side = (1, "before") if va < start else (2, "after")
        why = f"{vf.routine} was given {va:#x}, {side} the first MDL's {start:#x} to {end:#x}."
        vi_dma(vf, 0x1F, kind, va, int(Mdl), why=why)
    missing = Length - sum(size for _, _, size in hal_pieces(nt, Mdl, va, Length))
    if missing and Mdl._v.Next:
        why = f"{Length} bytes were to be mapped: the MDLs describe {Length - missing}."
        vi_dma(vf, 0x24, missing, why=why)
    if missing and (va + Length - 1) >> 12 != (end - 1) >> 12:
        why = f"{Length} bytes from {va:#x} were to be mapped: the MDL ends at {end:#x}."
        vi_dma(vf, 0x1F, 3, int(Mdl), Length, why=why)


@after("dma", "HalGetScatterGatherList HalBuildScatterGatherList")
def vi_got_list(vf: Verifier, result: int, nt: Kernel, DmaAdapter: Any, *rest: Any) -> None:
    record = records(vf).get(int(DmaAdapter))
    if record is not None and not result:
        record.lists_made += 1


@before("dma", "HalPutScatterGatherList")
def vi_put_list(
    vf: Verifier, nt: Kernel, DmaAdapter: Any, ScatterGather: Any, Writes: int
) -> None:
    """0x6: more lists than were allocated; 0xF."""
    record = records(vf).get(int(DmaAdapter))
    if record is None:
        return
    adapter = hal_adapter(nt, DmaAdapter)
    made = hal_dma(nt).lists.get(int(ScatterGather))
    record.lists_freed += 1
    if made is None:
        if not adapter.lists:
            freed, of = record.lists_freed, record.lists_made
            why = f"A scatter/gather list was freed, the {freed}. of {of} that were made."
            vi_dma(vf, 0x6, of, freed, why=why)
        return
    file = hal_dma(nt).files.get(made.base)
    if file is not None:
        for piece in file.mapped:
            vi_padding(vf, nt, file, piece)
