"""Map control blocks, against the test suite's sequence and against a plain dictionary.

Source: ReactOS kmtests FsRtlMcb.c (FsRtlLargeMcbTest); WDK FsRtlAddLargeMcbEntry and its family.
"""

import pytest

from ntsim.hw.prng import Random
from ntsim.wdm import *


def new_mcb():
    made = cast(ExAllocatePoolZero(NonPagedPool, LARGE_MCB.size, 0x74736554), LARGE_MCB)
    FsRtlInitializeLargeMcb(made, PagedPool)
    return made


def runs(mcb) -> list[tuple[int, int, int]]:
    found = []
    while (got := FsRtlGetNextLargeMcbEntry(mcb, len(found)))[0]:
        found.append(got[1:])
    assert FsRtlNumberOfRunsInLargeMcb(mcb) == len(found)
    return found


def lookup(mcb, vbn: int, lbn=None) -> list[int]:
    if lbn is not None:  # the caller's variable: a new one would lie on the kernel stack
        done = FsRtlLookupLargeMcbEntry(mcb, vbn, lbn, NULL, NULL, NULL, NULL)
        return [int(done), lbn[0]] if done else [0]
    outs = [LONGLONG() for _ in range(4)]
    index = ULONG()
    done = FsRtlLookupLargeMcbEntry(mcb, vbn, *outs, index)
    return [int(done), *(out[0] for out in outs), index[0]] if done else [0]


def test_the_test_suites_sequence(value_of) -> None:
    def body() -> list:
        mcb, found = new_mcb(), []
        found.append(FsRtlLookupLastLargeMcbEntry(mcb)[0])
        found.append(FsRtlAddLargeMcbEntry(mcb, 1, 1, 1024))
        found.append(FsRtlLookupLastLargeMcbEntryAndIndex(mcb))
        FsRtlAddLargeMcbEntry(mcb, 2048, 2, 1024)
        found.append(runs(mcb))
        found += [lookup(mcb, vbn) for vbn in (1, 513, 2048, 3073)]
        FsRtlRemoveLargeMcbEntry(mcb, 1, 1024)
        found += [runs(mcb), lookup(mcb, 512)]
        found.append(FsRtlSplitLargeMcb(mcb, 2048, 1024))
        found += [runs(mcb), lookup(mcb, 2048), lookup(mcb, 3072)]
        found.append(FsRtlAddLargeMcbEntry(mcb, 3584, 3, 1024))
        found.append(FsRtlAddLargeMcbEntry(mcb, 4095, 1025, 1024))
        found += [runs(mcb), FsRtlLookupLastLargeMcbEntry(mcb)]
        FsRtlTruncateLargeMcb(mcb, 4607)
        found += [runs(mcb), lookup(mcb, 4095)]
        FsRtlResetLargeMcb(mcb, FALSE)
        found.append(runs(mcb))
        FsRtlUninitializeLargeMcb(mcb)
        return found

    assert value_of(body) == [
        False, True, (True, 1024, 1024, 1),
        [(0, -1, 1), (1, 1, 1024), (1025, -1, 1023), (2048, 2, 1024)],
        [1, 1, 1024, 1, 1024, 1], [1, 513, 512, 1, 1024, 1], [1, 2, 1024, 2, 1024, 3], [0],
        [(0, -1, 2048), (2048, 2, 1024)], [1, -1, 1536, -1, 2048, 0],
        True, [(0, -1, 3072), (3072, 2, 1024)], [1, -1, 1024, -1, 3072, 0],
        [1, 2, 1024, 2, 1024, 1], False, True,
        [(0, -1, 3072), (3072, 2, 2047)], (True, 5118, 2048),
        [(0, -1, 3072), (3072, 2, 1535)], [1, 1025, 512, 2, 1535, 1], [],
    ]  # fmt: skip


def test_holes_are_filled_and_neighbours_joined(value_of) -> None:
    def body() -> list:
        mcb, found = new_mcb(), []
        for vbn, lbn in ((1024, 1025), (3072, 3072), (5120, 5120)):
            FsRtlAddLargeMcbEntry(mcb, vbn, lbn, 1024)
        found.append(len(runs(mcb)))
        FsRtlAddLargeMcbEntry(mcb, 0, 1, 1024)
        found.append(runs(mcb)[0])
        FsRtlAddLargeMcbEntry(mcb, 4608, 4608, 1024)
        return [*found, runs(mcb)]

    assert value_of(body) == [
        6, (0, 1, 2048),
        [(0, 1, 2048), (2048, -1, 1024), (3072, 3072, 1024), (4096, -1, 512), (4608, 4608, 1536)],
    ]  # fmt: skip


@pytest.mark.parametrize("seed", [1, 2])
def test_any_sequence_maps_what_a_dictionary_maps(value_of, seed: int) -> None:
    def body() -> int:
        mcb, model, random, lbn = new_mcb(), {}, Random(seed), LONGLONG()
        for _ in range(120):
            vbn, count, shift = random.below(60), 1 + random.below(12), random.below(3) * 100
            if random.below(3):
                to = vbn + 1000 + shift
                span = range(vbn, vbn + count)
                fits = all(model.get(v, v - vbn + to) == v - vbn + to for v in span)
                assert FsRtlAddLargeMcbEntry(mcb, vbn, to, count) == fits
                if fits:
                    model.update({v: v - vbn + to for v in span})
            else:
                FsRtlRemoveLargeMcbEntry(mcb, vbn, count)
                for v in range(vbn, vbn + count):
                    model.pop(v, None)
            for v in range(max(model, default=-1) + 1):
                assert lookup(mcb, v, lbn)[1] == model.get(v, -1)
            assert lookup(mcb, max(model, default=-1) + 1, lbn) == [0]
        return len(model)

    assert value_of(body) > 0
