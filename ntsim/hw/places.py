"""Where raw memory lies in RAM, by address: what was found once is one look-up from then on.

The kernel goes to the same words again and again (list heads, pool headers, IRPs). Splitting a
64-bit address into page and offset costs Python more than the access itself.
"""

from __future__ import annotations

from ntsim.hw.lent import LentPage

_KEPT = 1 << 15
_TWO_WORDS_FIT = 0xFF0


class Places(dict[int, int]):
    """`places[va]` is the physical address of the raw byte at `va`, -1 of one that is guarded.

    Holds what `pages` (page number to number of its first 64-bit word in RAM) says; who takes a
    page out of that forgets the places; those of a `lent` page are listed there.
    """

    __slots__ = ("_lent", "_pages")

    def __init__(self, pages: dict[int, int], lent: dict[int, LentPage]) -> None:
        super().__init__()
        self._pages, self._lent = pages, lent

    def __missing__(self, va: int) -> int:
        word = self._pages.get(va >> 12)
        if word is None:
            return -1
        if len(self) >= _KEPT:
            self.clear()
        if (page := self._lent.get(va >> 12)) is not None:
            page.places.append(va)
        at = self[va] = (word << 3) + (va & 0xFFF)
        return at


class Pairs(dict[int, int]):
    """`pairs[va]` is the number in RAM of the first of two raw 64-bit words at `va`; -1 if they are
    guarded, not aligned, or in two pages. Forgotten as `places` are."""

    __slots__ = ("_places",)

    def __init__(self, places: Places) -> None:
        super().__init__()
        self._places = places

    def __missing__(self, va: int) -> int:
        at = self._places[va]
        if at < 0 or at & 7 or at & 0xFFF > _TWO_WORDS_FIT:
            return -1
        if len(self) >= _KEPT:
            self.clear()
        word = self[va] = at >> 3
        return word
