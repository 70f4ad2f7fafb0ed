"""DMA verification: adapters, common buffers, map registers and lists, 0xE6.

Adapters of a verified driver copy every transfer through map registers, so that what a device does
beyond its buffer, or after the flush, meets filler. A common buffer lies between two tags in pages
of its own. Parameters as documented; where two sub-codes fit, the choice is inferred: MapTransfer
and FlushAdapterBuffers report an address outside the MDL as 0x1B, the list routines as 0x1F; a
buffer freed twice is 0x3 only while no other is allocated, else the memory manager finds it.
Source: WDK Bug Check 0xE6, "DMA Verification".
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NoReturn

from ntsim.abi import wdm_constants as c
from ntsim.abi.irql import level_name
from ntsim.hw.ram import PAGE_SIZE
from ntsim.nt.hal.dma import FOUR_GIGABYTES, hal_adapter
from ntsim.nt.hal.map_registers import FILLER
from ntsim.nt.ke.irql import DISPATCH_LEVEL, PASSIVE_LEVEL
from ntsim.nt.mm.contiguous import MmFreeContiguousMemory, mi_allocate_contiguous
from ntsim.nt.mm.mdl import mdl_pages
from ntsim.nt.vf.hooks import after, before, instead
from ntsim.nt.vf.notes import Moment, Note

if TYPE_CHECKING:
    from ntsim.nt.kernel import Kernel
    from ntsim.nt.vf.verifier import Verifier

DRIVER_VERIFIER_DMA_VIOLATION = 0xE6
GUARD = b"DmaVrfy0"
AT_PASSIVE = "HalPutDmaAdapter HalAllocateCommonBuffer HalFreeCommonBuffer HalGetDmaAlignment"
AT_DISPATCH = (
    "IoAllocateAdapterChannel IoFreeAdapterChannel IoFreeMapRegisters HalGetScatterGatherList "
    "HalBuildScatterGatherList HalPutScatterGatherList"
)
UP_TO_DISPATCH = (
    "IoMapTransfer IoFlushAdapterBuffers HalReadDmaCounter HalCalculateScatterGatherListSize "
    "HalBuildMdlFromScatterGatherList"
)


@dataclass(slots=True)
class Record:
    """What the verifier knows of an adapter. `data` is its address in memory, as parameters have
    it; `buffers` are common buffers: address to (allocation, length, moment)."""

    data: int
    made: Moment
    released: Moment | None = None
    buffers: dict[int, tuple[int, int, Moment]] = field(default_factory=dict)
    lists_made: int = 0
    lists_freed: int = 0


class Records(dict[int, Record]):
    """By address of the adapter."""


def records(vf: Verifier) -> Records:
    return vf.part(Records)  # type: ignore[no-any-return]


def vi_dma(
    vf: Verifier, one: int, *parameters: int, why: str, notes: list[Note] | None = None
) -> NoReturn:
    """Stop with 0xE6."""
    two, three, four = (*parameters, 0, 0, 0)[:3]
    vf.violation(one, two, three, four, why=why, notes=notes, code=DRIVER_VERIFIER_DMA_VIOLATION)


@before("dma", "IoGetDmaAdapter")
def vi_get_adapter(vf: Verifier, nt: Kernel, Device: Any, Description: Any, *rest: Any) -> None:
    """0x13: above PASSIVE_LEVEL; 0x25: a description of a version that does not exist."""
    vi_level(vf, PASSIVE_LEVEL, True)
    version = Description._v.Version
    if version > c.DEVICE_DESCRIPTION_VERSION3:
        why = f"IoGetDmaAdapter was given a DEVICE_DESCRIPTION of version {version}."
        vi_dma(vf, 0x25, why=why)


@before("dma", "HalGetAdapter")
def vi_get_adapter_nt4(vf: Verifier, nt: Kernel, *rest: Any) -> None:
    vi_dma(vf, 0x1E, why="HalGetAdapter is obsolete: IoGetDmaAdapter replaces it.")


@after("dma", "IoGetDmaAdapter")
def vi_new_adapter(vf: Verifier, result: Any, nt: Kernel, *rest: Any) -> None:
    if result:
        hal_adapter(nt, result).guarded = True
        records(vf)[int(result)] = Record(vf.value(int(result)), vf.moment())


def vi_level(vf: Verifier, level: int, exactly: bool) -> None:
    """0x13: 1 with the IRQL that is expected, 2 with the highest."""
    if vf.irql == level or (not exactly and vf.irql < level):
        return
    now = f"{vf.routine} was called at {level_name(vf.irql)}"
    most = "at" if exactly else "at most at"
    why = f"{now}: it is called {most} {level_name(level)}."
    vi_dma(vf, 0x13, 1 if exactly else 2, level, vf.irql, why=why)


def vi_adapter(vf: Verifier, adapter: Any) -> None:
    """0x19: NULL; 0x18: released."""
    if not adapter:
        vi_dma(vf, 0x19, why=f"{vf.routine} was given NULL as DMA adapter.")
    record = records(vf).get(int(adapter))
    if record is not None and record.released is not None:
        notes = [Note("The adapter was released.", record.released)]
        why = f"{vf.routine} was given the adapter {int(adapter):#x}, which was released."
        vi_dma(vf, 0x18, int(adapter), record.data, why=why, notes=notes)


@before("dma", AT_PASSIVE)
def vi_at_passive(vf: Verifier, nt: Kernel, DmaAdapter: Any, *rest: Any) -> None:
    vi_adapter(vf, DmaAdapter)
    vi_level(vf, PASSIVE_LEVEL, True)


@before("dma", AT_DISPATCH)
def vi_at_dispatch(vf: Verifier, nt: Kernel, DmaAdapter: Any, *rest: Any) -> None:
    vi_adapter(vf, DmaAdapter)
    vi_level(vf, DISPATCH_LEVEL, True)


@before("dma", UP_TO_DISPATCH)
def vi_up_to_dispatch(vf: Verifier, nt: Kernel, DmaAdapter: Any, *rest: Any) -> None:
    vi_adapter(vf, DmaAdapter)
    vi_level(vf, DISPATCH_LEVEL, False)


@before("dma", "HalPutDmaAdapter")
def vi_put_adapter(vf: Verifier, nt: Kernel, DmaAdapter: Any) -> None:
    """0x7 to 0xA: something of the adapter's is still allocated."""
    record = records(vf).get(int(DmaAdapter))
    if record is None:
        return
    adapter = hal_adapter(nt, DmaAdapter)
    moments = [each[2] for each in record.buffers.values()]
    for kind, count, what, made in (
        (0x7, len(record.buffers), "common buffer", moments),
        (0x8, adapter.channels, "adapter channel", []),
        (0x9, adapter.registers, "map register", []),
        (0xA, adapter.lists, "scatter/gather list", []),
    ):
        if count:
            notes = [Note(f"A {what} was allocated.", each) for each in made]
            why = f"The adapter {int(DmaAdapter):#x} was released with {count} {what}"
            why += "s allocated." if count > 1 else " allocated."
            vi_dma(vf, kind, int(DmaAdapter), count, record.data, why=why, notes=notes)


@after("dma", "HalPutDmaAdapter")
def vi_released(vf: Verifier, result: Any, nt: Kernel, DmaAdapter: Any) -> None:
    record = records(vf).get(int(DmaAdapter))
    if record is not None:
        record.released = vf.moment()


# Common buffers


@instead("dma", "HalAllocateCommonBuffer")
def vi_allocate_buffer(
    vf: Verifier, nt: Kernel, DmaAdapter: Any, Length: int, LogicalAddress: Any, Cached: int
) -> int | None:
    """A page before the buffer, ending in a tag; after it a tag, and filler to a page's end."""
    record = records(vf).get(int(DmaAdapter))
    if record is None:
        return None
    adapter = hal_adapter(nt, DmaAdapter)
    size = PAGE_SIZE + mdl_pages(0, Length + len(GUARD)) * PAGE_SIZE
    base = mi_allocate_contiguous(nt, size, 0, adapter.limit, FOUR_GIGABYTES)
    if not base:
        return 0
    filler = bytes([FILLER])
    rest = size - PAGE_SIZE - Length - len(GUARD)
    nt.mmu.write(base, filler * (PAGE_SIZE - len(GUARD)) + GUARD)
    nt.mmu.write(base + PAGE_SIZE + Length, GUARD + filler * rest)
    va = base + PAGE_SIZE
    record.buffers[va] = base, Length, vf.moment()
    LogicalAddress[0] = nt.mmu.physical(va) or 0
    return va


@instead("dma", "HalFreeCommonBuffer")
def vi_free_buffer(
    vf: Verifier, nt: Kernel, DmaAdapter: Any, Length: int, Logical: Any, Address: int, Cached: int
) -> int | None:
    """0x3: more than were allocated; 0xF: a tag or the filler around the buffer was written."""
    record = records(vf).get(int(DmaAdapter))
    if record is None:
        return None
    if int(Address) not in record.buffers:
        if not record.buffers:
            why = f"{int(Address):#x} was freed as a common buffer, and the adapter has none."
            vi_dma(vf, 0x3, 1, why=why)
        return None
    base, length, made = record.buffers[int(Address)]
    vi_check_buffer(vf, nt, base, int(Address), length, made)
    del record.buffers[int(Address)]
    MmFreeContiguousMemory(nt, base)
    return 0


def vi_check_buffer(
    vf: Verifier, nt: Kernel, base: int, va: int, length: int, made: Moment
) -> None:
    """0xF: 1 and 2 for the tags, 4 and 5 for the padding."""
    notes = [Note(f"The common buffer of {length} bytes was allocated at {va:#x}.", made)]
    end = va + length
    for kind, side, at in ((1, "before", va - len(GUARD)), (2, "after", end)):
        if nt.mmu.read(at, len(GUARD)) != GUARD:
            why = f"Bytes right {side} the common buffer at {va:#x} were written."
            vi_dma(vf, 0xF, kind, length, va, why=why, notes=notes)
    after_tag = end + len(GUARD)
    for kind, side, at, stop in (
        (4, "before", base, va - len(GUARD)),
        (5, "after", after_tag, (after_tag + PAGE_SIZE - 1) & -PAGE_SIZE),
    ):
        wrong = vi_wrong(nt.mmu.read(at, stop - at), last=kind == 4)
        if wrong is not None:
            why = f"Bytes {side} the common buffer at {va:#x} were written, at {at + wrong:#x}."
            vi_dma(vf, 0xF, kind, va, at + wrong, why=why, notes=notes)


def vi_wrong(data: bytes, last: bool = False) -> int | None:
    """Where the filler was written, nearest to the buffer; None if nowhere."""
    if data == bytes([FILLER]) * len(data):
        return None
    found = [i for i, byte in enumerate(data) if byte != FILLER]
    return found[-1] if last else found[0]
