"""Counting instructions block by block.

The library can count every instruction for us, at half of its speed. Where the host allows machine
code of ours (`hostcode.py`) it counts blocks instead: a callback at the beginning of each looks up
how many instructions it has, and ends the run before a block that would go beyond the limit; the
few instructions up to the limit are then single-stepped. Runs end at the same instruction either
way, so that a schedule means the same on every host.

How many instructions a block has, the library says when it translates it. Which of them an exit in
the middle of a block stands at, is found by decoding. A block with IN or OUT, which the library
cannot be stopped at within a block, and one that cannot be decoded, are single-stepped whole; so is
one with a VEX prefix, which the library ignores in places, so that the engine ends the run there.

An instruction that rewrites the block it is in is begun twice by the library. It counts once, but
for the last of a block, and wherever the library counts.
"""

from __future__ import annotations

import ctypes
import struct
from typing import Any
from weakref import WeakValueDictionary

from ntsim.hw.engine import hostcode
from ntsim.hw.engine.lengths import Kind, instructions

STEPPED = 0xFFFF_FFFF
"""The number of instructions of a block that the callback shall not let begin."""

_KEPT_TABLES, _KEPT_SHAPES = 64, 0x2_0000
_ENTRY = struct.Struct("<QIIQQ")


Decoded = tuple[list[int], Kind]


def decoded(code: bytes, count: int, mode: int) -> Decoded | None:
    """Where the instructions of a block begin, and what they are; None if they are not known."""
    found = instructions(code, mode)
    return None if found is None or len(found[0]) != count else found


class BlockTable:
    """What is known of the blocks of one address space; `address` is the host's, for the callback.

    Blocks have the key (linear address, size in bytes).
    """

    __slots__ = ("__weakref__", "_bytes", "_offsets", "_pin", "address")

    def __init__(self) -> None:
        self._bytes = bytearray(hostcode.TABLE_ENTRIES * hostcode.ENTRY_BYTES)
        self._pin = ctypes.c_char.from_buffer(self._bytes)
        self.address = ctypes.addressof(self._pin)
        self._offsets: dict[tuple[int, int], dict[int, tuple[int, int]]] = {}

    def put(self, place: int, size: int, count: int, looked_at: bool = False) -> None:
        """Tell the host code about a block."""
        at = (place + size * hostcode.SPREAD & hostcode.MASK) * hostcode.ENTRY_BYTES
        _ENTRY.pack_into(self._bytes, at, place, size, count, looked_at, 0)

    def learn(
        self, place: int, size: int, count: int, found: Decoded | None, *, stops_far: bool = False
    ) -> None:
        """A block of `count` instructions has been translated; `found` is `decoded`.

        `stops_far`: the run is to end before what may switch tasks, so it steps there.
        """
        key = place, size
        kind = Kind(0) if found is None else found[1]
        steps = Kind.VEX | (Kind.FAR if stops_far else Kind(0))
        if count == 1 and not kind & steps:
            self.put(*key, count)  # nothing of it runs on behind an exit
            return
        if found is None or kind & steps:
            self._offsets.pop(key, None)
            self.put(*key, STEPPED, True)
            return
        starts = found[0]
        ends = (*starts[1:], size)
        self._offsets[key] = {
            start: (number, end - start)
            for number, (start, end) in enumerate(zip(starts, ends, strict=True))
        }
        self.put(*key, STEPPED if kind & Kind.IO else count, bool(kind & (Kind.IO | Kind.PUSHF)))

    def clear(self) -> None:
        """Forget everything."""
        self._bytes[:] = bytes(len(self._bytes))
        self._offsets.clear()

    def instruction(self, place: int, size: int, offset: int) -> tuple[int, int]:
        """How many instructions of a block lie before the one at `offset`, and its length, which is
        0 if the block has not been decoded."""
        offsets = self._offsets.get((place, size))
        return (0, 0) if offsets is None else offsets[offset]


class Blocks:
    """The tables of one engine, one for each translation of addresses.

    Code that several of them share is translated once: when a block turns out to have changed, all
    forget what they know.
    """

    def __init__(self) -> None:
        self._tables: WeakValueDictionary[tuple[Any, ...], BlockTable] = WeakValueDictionary()
        self._recent: dict[tuple[Any, ...], BlockTable] = {}
        self._shapes: dict[tuple[int, int], tuple[int, ...]] = {}

    def of(self, translation: tuple[Any, ...]) -> BlockTable:
        """The table of a translation, made at its first use."""
        table = self._recent.get(translation) or self._tables.get(translation)
        if table is None:
            table = self._tables[translation] = BlockTable()
        if translation not in self._recent:
            if len(self._recent) == _KEPT_TABLES:
                self._recent.pop(next(iter(self._recent)))
            self._recent[translation] = table
        return table

    def note(self, place: int, size: int, shape: tuple[int, ...]) -> None:
        """A block has been translated; `shape` is where its instructions begin, or their number."""
        known = self._shapes.setdefault((place, size), shape)
        if known == shape and len(self._shapes) < _KEPT_SHAPES:
            return
        self.forget()

    def forget(self) -> None:
        """Every block is new again."""
        self._shapes.clear()
        for table in list(self._tables.values()):
            table.clear()
