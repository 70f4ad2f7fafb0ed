"""Pool tracking: what a driver has allocated, with the stack it was allocated by.

0xC4/0x62 if something is left when the driver unloads: parameter 2 is the driver's name, 3 the
verifier's record of it, 4 the number of blocks. Source: WDK "Pool Tracking"; Bug Check 0xC4.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ntsim.nt.ex.pool import PAGED_POOL, tag_text
from ntsim.nt.vf.hooks import after, before
from ntsim.nt.vf.notes import Moment, Note
from ntsim.nt.vf.pool import BY_FLAGS, BY_TYPE, FLAG_PAGED

if TYPE_CHECKING:
    from ntsim.nt.kernel import Kernel
    from ntsim.nt.mm.images import Image
    from ntsim.nt.vf.verifier import Verifier

MOST_TOLD = 8


@dataclass(slots=True)
class Allocation:
    """One block of a driver."""

    address: int
    size: int
    tag: str
    paged: bool
    image: Image
    made: Moment

    def __str__(self) -> str:
        pool = "paged" if self.paged else "nonpaged"
        return f"{self.size} bytes of {pool} pool at {self.address:#x}, tag '{self.tag}'"


class PoolTracker:
    """The live blocks of verified drivers by address, in the order of allocation."""

    def __init__(self, vf: Verifier) -> None:
        self.vf = vf
        self.live: dict[int, Allocation] = {}

    def add(self, address: int, size: int, tag: str, paged: bool) -> None:
        image = self.vf.nt.thread.images[-1]
        made = self.vf.moment()
        self.live[address] = Allocation(address, size, tag, paged, image, made)

    def left_by(self, image: Image) -> list[Allocation]:
        return [each for each in self.live.values() if each.image is image]


@after("pool-tracking", BY_TYPE)
def vi_track_by_type(
    vf: Verifier, result: int, nt: Kernel, PoolType: int, Size: int, Tag: int = 0x656E6F4E,
    *rest: Any,
) -> None:  # fmt: skip
    if result:
        vf.tracker.add(int(result), Size, tag_text(Tag), bool(PoolType & PAGED_POOL))


@after("pool-tracking", BY_FLAGS)
def vi_track_by_flags(
    vf: Verifier, result: int, nt: Kernel, Flags: int, Size: int, Tag: int
) -> None:
    if result:
        vf.tracker.add(int(result), Size, tag_text(Tag), bool(Flags & FLAG_PAGED))


@before("pool-tracking", "DriverUnload")
def vi_check_leaks(vf: Verifier, nt: Kernel, driver: Any) -> None:
    """0x62: blocks are left."""
    left = vf.tracker.left_by(driver.image)
    if not left:
        return
    name = driver.image.file_name
    notes = [Note(f"{each} was allocated and never freed.", each.made) for each in left]
    if len(notes) > MOST_TOLD:
        rest = len(notes) - MOST_TOLD
        notes = [*notes[:MOST_TOLD], Note(f"{rest} further blocks were not freed either.")]
    size = sum(each.size for each in left)
    blocks = "1 pool block" if len(left) == 1 else f"{len(left)} pool blocks"
    why = f"{name} unloads and leaves {blocks} of {size} bytes in all."
    vf.violation(
        0x62,
        vf.text(name),
        vf.text(name),
        len(left),
        why=why,
        notes=notes,
        driver=driver.image.base,
    )
