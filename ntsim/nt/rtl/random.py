"""Pseudo-random numbers: RtlUniform, RtlRandom, RtlRandomEx, and the C run-time's rand.

RtlUniform is X' = (X * 0x7FFFFFED + 0x7FFFFFC3) mod 0x7FFFFFFF. The two others shuffle its numbers
through a table of 128 that all callers share (Knuth, The Art of Computer Programming 2, 3.2.2,
algorithms M and B). Same seed and the same calls before: same numbers. Source: WDK RtlRandom,
RtlRandomEx; Wine ntdll tests rtl.c (constants, Vista and later); ReactOS sdk/lib/rtl/random.c (the
tables; it returns the new number from RtlRandomEx where algorithm B returns the table's, as here).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ntsim.nt.exports import export

if TYPE_CHECKING:
    from ntsim.abi.scalars import INT, PULONG, ULONG
    from ntsim.nt.kernel import Kernel

MODULUS = 0x7FFF_FFFF
_RANDOM = (
    "4c8bc0aa 4c022957 2232827a 2f1e7626 7f8bdafb 5c37d02a 0ab48f72 2f0c4ffa "
    "290e1954 6b635f23 5d3885c0 74b49ff8 5155fa54 6214ad3f 111e9c29 242a3a09 "
    "75932ae1 40ac432e 54f7ba7a 585ccbd5 6df5c727 0374dad1 7112b3f1 735fc311 "
    "404331a9 74d97781 64495118 323e04be 5974b425 4862e393 62389c1d 28a68b82 "
    "0f95da37 7a50bbc6 09b0091c 22cdb7b4 4faaed26 66417ccd 189e4bfa 1ce4e8dd "
    "5274c742 3bdcf4dc 2d94e907 32eac016 26d33ca3 60415a8a 31f57880 68c8aa52 "
    "23eb16da 6204f4a1 373927c1 0d24eb7c 06dd7379 2b3be507 0f9c55b1 2c7925eb "
    "36d67c9a 42f831d9 5e3961cb 65d637a8 24bb3820 4d08e33d 2188754f 147e409e "
    "6a9620a0 62e26657 7bd8ce81 11da0abb 5f9e7b50 23e444b6 25920c78 5fc894f0 "
    "5e338cbb 404237fd 1d60f80f 320a1743 76013d2b 070294ee 695e243b 56b177fd "
    "752492e1 6decd52f 125f5219 139d2e78 1898d11e 2f7ee785 4db405d8 1a028a35 "
    "63f6f323 1f6d0078 307cfd67 3f32a78a 6980796c 462b3d83 34b639f2 53fce379 "
    "74ba50f4 1abc2c4b 5eeaeb8d 335a7a0d 3973dd20 0462d66b 159813ff 1e4643fd "
    "06bc5c62 3115e3fc 09101613 47af2515 4f11ec54 78b99911 3db8dd44 1ec10b9b "
    "5b5506ca 773ce092 567be81a 5475b975 7a2cde1a 494536f5 34737bb4 76d9750b "
    "2a1f6232 2e49644d 7dddcbe7 500cebdb 619dab9e 48c626fe 1cda3193 52dabe9d "
)
_RANDOM_EX = (
    "4c8bc0aa 51a0b326 7112b3f1 1b9ca4e1 735fc311 6fe48580 320a1743 494045ca "
    "103ad1c5 4ba26e25 62f1d304 280d5677 070294ee 7acef21a 62a407d5 2dd36af5 "
    "194f0f95 1f21d7b4 307cfd67 66b9311e 60415a8a 5b264785 3c28b0e4 08faded7 "
    "556175ce 29c44179 666f23c9 65c057d8 72b97abc 7c3be3d0 478e1753 3074449b "
    "675ee842 53f4c2de 44d58949 6426cf59 111e9c29 3aba68b9 242a3a09 50ddb118 "
    "7f8bdafb 089ebf23 5c37d02a 27db8ca6 0ab48f72 34995a4e 189e4bfa 2c405c36 "
    "373927c1 66c20c71 5f991360 67a38fa3 4edc56aa 25a59126 34b639f2 1679b2ce "
    "54f7ba7a 319d28b5 5155fa54 769e6b87 323e04be 4565a5aa 5974b425 5c56a104 "
    "25920c78 362912dc 7af3996f 5feb9c87 618361bf 433fbe97 0244da8e 54e3c739 "
    "33183689 3533f398 0d24eb7c 06428590 09101613 53ce5c5a 47af2515 2e003f35 "
    "15fb4ed5 5e5925f4 7f622ea7 0bb6895f 2173cdb6 0467bb41 2c4d19f1 364712e1 "
    "78b99911 0a39a380 3db8dd44 6b4793b8 09b0091c 47ef52b0 293cdcb3 707b9e7b "
    "26d33ca3 1e527faa 3fe08625 42560b04 139d2e78 0b558cdb 28a68b82 7ba3a51d "
    "52dabe9d 59c3da1d 5676cf9c 152e972f 6d8ac746 5eb33591 78b30601 0ab68db0 "
    "34737bb4 1b6dd168 76d9750b 2ddc4ff2 18a610cd 2bacc08c 422db55f 169b89b6 "
    "5274c742 615535dd 46ad005d 4128f8dd 29f5875c 62c6f3ef 2b3be507 4a8e003f "
)


class RandomTables:
    """The tables of one machine; `last` is what RtlRandomEx chooses its next place by."""

    def __init__(self) -> None:
        self.random = [int(word, 16) for word in _RANDOM.split()]
        self.random_ex = [int(word, 16) for word in _RANDOM_EX.split()]
        self.last = 0x7775FB16
        self.rand = 1


def tables(nt: Kernel) -> RandomTables:
    """Made when they are first used."""
    if nt.ex.random is None:
        nt.ex.random = RandomTables()
    found: RandomTables = nt.ex.random
    return found


def advance(value: int) -> int:
    """The number after `value`."""
    return (value * 0x7FFF_FFED + 0x7FFF_FFC3) % MODULUS


def seed_at(nt: Kernel, address: int) -> int:
    return int.from_bytes(nt.mmu.read(address, 4), "little")


def store(nt: Kernel, address: int, value: int) -> int:
    nt.mmu.write(address, value.to_bytes(4, "little"))
    return value


@export(irql="<= APC")
def RtlUniform(nt: Kernel, Seed: PULONG) -> ULONG:
    """The number after *Seed, which it becomes. Source: ntifs.h; Wine ntdll tests rtl.c."""
    return store(nt, int(Seed), advance(seed_at(nt, int(Seed))))


@export(irql="<= APC")
def RtlRandom(nt: Kernel, Seed: PULONG) -> ULONG:
    """A number from 0 to MAXLONG - 1; *Seed moves on by two. Source: WDK RtlRandom."""
    table = tables(nt).random
    number = advance(seed_at(nt, int(Seed)))
    place = store(nt, int(Seed), advance(number)) & 127
    found, table[place] = table[place], number
    return found


@export(irql="<= APC")
def RtlRandomEx(nt: Kernel, Seed: PULONG) -> ULONG:
    """A number from 0 to MAXLONG - 1; *Seed moves on by one. Source: WDK RtlRandomEx."""
    state = tables(nt)
    place = state.last & 127
    state.last = state.random_ex[place]
    state.random_ex[place] = store(nt, int(Seed), advance(seed_at(nt, int(Seed))))
    return state.last


@export(irql="any")
def rand(nt: Kernel) -> INT:
    """A number from 0 to 7FFFh, one sequence for all callers. Source: Microsoft C run-time."""
    state = tables(nt)
    state.rand = (state.rand * 214013 + 2531011) & 0xFFFF_FFFF
    return state.rand >> 16 & 0x7FFF


@export(irql="any")
def srand(nt: Kernel, Seed: ULONG) -> None:
    """Begin the sequence of `rand` anew; it begins with srand(1)."""
    tables(nt).rand = Seed
