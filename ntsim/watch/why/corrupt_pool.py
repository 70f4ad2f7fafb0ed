"""0xC2 and 0x19: pool freed wrongly, or written past its end."""

from __future__ import annotations

from ntsim.nt.events import PoolAllocated, PoolFreed
from ntsim.watch.why.case import Case, Explainer
from ntsim.watch.why.memory import block_at

FREED_ALREADY, WRONG_TAG, BAD_QUOTA, NEVER_ALLOCATED = 7, 0xA, 0xD, 0x46
HEADER = 0x10


def explain_bad_free(case: Case) -> None:
    """0xC2: the block's past, then the bad request."""
    kind = case.parameters[0]
    address = case.parameters[3] if kind == FREED_ALREADY else case.parameters[1]
    freed = _tell_block(case, address)
    here = case.sources.place(case.state.stack)
    if kind == FREED_ALREADY:
        what = "freed again"
        first = f"first at {freed.where}, then at {here}" if freed else f"the second time at {here}"
        case.summary = f"A pool block was freed twice: {first}."
    elif kind == WRONG_TAG:
        what = "freed with a tag that is not its own"
        case.summary = f"A pool block was freed with a wrong tag, at {here}."
    elif kind == BAD_QUOTA:
        what = "freed, and its header bills it to what is no process: the bytes before were written"
        case.summary = f"The bytes right before a pool block were written; noticed at {here}."
    else:
        what = "freed and is no pool block"
        case.summary = f"An address that is no pool block was freed, at {here}."
    case.tell_at_end(f"{address:#x} was {what}.", case.state.stack)


def _tell_block(case: Case, address: int) -> PoolFreed | None:
    """Steps for the last life of a block: allocated, freed."""
    made = next((e for e in case.newest_first(PoolAllocated) if e.address == address), None)
    freed = next((e for e in case.newest_first(PoolFreed) if e.address == address), None)
    if made is not None:
        text = f"{made.size} bytes were allocated at {address:#x}, tag '{made.tag}'."
        case.tell(made, text)
    if freed is not None:
        case.tell(freed, f"The block at {address:#x} was freed.")
    return freed


def explain_bad_header(case: Case) -> None:
    """0x19: which block ran into which header."""
    _, entry, following, _ = case.parameters
    if _tell_inside(case, entry + HEADER):
        return
    broken = following if _is_whole(case, entry, following) else entry
    block = _block_ending_at(case, broken)
    if block is not None:
        case.tell(
            block,
            f"{block.size} bytes were allocated at {block.address:#x}, tag '{block.tag}': the "
            f"header at {broken:#x} follows them.",
        )
    found = case.nt.mmu.read(broken, HEADER)
    text = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in found)
    case.tell_at_end(
        f"The pool header at {broken:#x} is overwritten: {found.hex(' ')}  {text}. It was noticed "
        "when a block was freed.",
        case.state.stack,
    )
    who = f"the block allocated at {block.where}" if block else "the block before it"
    case.summary = f"A pool header was overwritten, most likely by a write past the end of {who}."


def _tell_inside(case: Case, address: int) -> bool:
    """Whether the address that was freed is the middle of a block: then nothing is overwritten."""
    block, _ = block_at(case, address)
    if block is None or block.address == address:
        return False
    case.tell(block, f"{block.size} bytes were allocated at {block.address:#x}, tag '{block.tag}'.")
    case.tell_at_end(
        f"{address:#x} was freed: no block begins there, and what is before it is no pool header.",
        case.state.stack,
    )
    here = case.sources.place(case.state.stack)
    case.summary = f"The middle of a block was freed, at {here}; it begins at {block.address:#x}."
    return True


def _is_whole(case: Case, entry: int, following: int) -> bool:
    """Whether the header at `entry` still gives the distance to the next one."""
    word = int.from_bytes(case.nt.mmu.read(entry, 4), "little")
    return (word >> 16 & 0xFF) * 16 == following - entry


def _block_ending_at(case: Case, header: int) -> PoolAllocated | None:
    """The allocation whose block lies right before a header."""
    for event in case.newest_first(PoolAllocated):
        end = event.address + event.size
        if end <= header < end + HEADER:
            return event
    return None


EXPLAINS: dict[int, Explainer] = {0xC2: explain_bad_free, 0x19: explain_bad_header}
