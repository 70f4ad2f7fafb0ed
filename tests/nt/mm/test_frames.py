"""Physical frames: scattered single ones, contiguous runs, and merging what comes back."""

import pytest

from ntsim.hw.ram import Ram
from ntsim.nt.mm.frames import Frames, OutOfFrames

PAGE, MB = 0x1000, 1 << 20


@pytest.fixture
def frames() -> Frames:
    return Frames(Ram(16 * MB), seed=3)


def test_single_frames_are_scattered_by_the_seed_and_zeroed(frames: Frames) -> None:
    other = Frames(Ram(16 * MB), seed=4)
    taken, others = [frames.take() for _ in range(8)], [other.take() for _ in range(8)]
    assert taken != others
    assert taken != sorted(taken)
    assert all(frames.ram.read(pa, PAGE) == bytes(PAGE) for pa in taken)


def test_a_frame_is_given_out_once_until_it_comes_back(frames: Frames) -> None:
    count = frames.available
    taken = [frames.take() for _ in range(count)]
    assert len(set(taken)) == count
    with pytest.raises(OutOfFrames):
        frames.take()
    frames.give(taken[5])
    assert frames.take() == taken[5]


def test_runs_and_single_frames_do_not_overlap(frames: Frames) -> None:
    run = frames.take_run(4, 0, 16 * MB - 1)
    assert run is not None
    singles = {frames.take() for _ in range(frames.available)}
    assert not singles & {run + i * PAGE for i in range(4)}


@pytest.mark.parametrize(
    ("lowest", "highest", "found"),
    [
        (0, 16 * MB - 1, True),
        (0, 4 * MB, True),
        (0, 2 * MB - 1, False),
        (14 * MB, 16 * MB - 1, True),
        (16 * MB, -1, False),
    ],
)
def test_a_run_lies_within_its_limits(frames: Frames, lowest, highest, found) -> None:
    run = frames.take_run(3, lowest, highest)
    assert (run is not None) is found
    if run is not None:
        assert lowest <= run <= run + 3 * PAGE - 1 <= highest


@pytest.mark.parametrize("boundary", [0x8000, 0x10000])
def test_no_run_crosses_its_boundary(frames: Frames, boundary: int) -> None:
    for pages in (3, 5, 2, 7, 4, 6):
        run = frames.take_run(pages, 0, 16 * MB - 1, boundary)
        assert run is not None
        assert run // boundary == (run + pages * PAGE - 1) // boundary


def test_a_run_larger_than_its_boundary_does_not_exist(frames: Frames) -> None:
    assert frames.take_run(20, 0, 16 * MB - 1, 0x10000) is None


def test_returned_runs_merge_whatever_the_order(frames: Frames) -> None:
    whole = list(frames.runs)
    taken = [(frames.take_run(pages, 0, 16 * MB - 1), pages) for pages in (1, 8, 3, 20, 5)]
    for pa, pages in (taken[2], taken[0], taken[4], taken[1], taken[3]):
        assert pa is not None
        frames.give_run(pa, pages)
    assert frames.runs == whole


def test_frames_of_a_run_come_back_one_by_one_and_join_again(frames: Frames) -> None:
    before = list(frames.runs)
    first = frames.take_run(9, 0, 16 * MB - 1)
    assert first is not None
    for page in (4, 0, 8, 2, 6, 1, 3, 5, 7):
        frames.give(first + page * 0x1000)
    assert frames.runs == before


def test_memory_stays_one_stretch_for_python_when_the_host_has_no_mappings_left(
    ntsim_machine, monkeypatch
) -> None:
    monkeypatch.setattr("ntsim.nt.mm.system_space.LINED_UP_LIMIT", 0)
    nt = ntsim_machine(processors=1).nt
    system, stacks = nt.mm.system, nt.mm.stacks
    free = list(nt.mm.frames.runs)
    made = [system.allocate(stacks, 6, guard=1) for _ in range(20)]
    for va in made:
        physical = [nt.mmu.physical(va + 0x1000 * page) for page in range(6)]
        assert physical == list(range(physical[0], physical[0] + 0x6000, 0x1000))
        nt.mmu.write(va + 0xFFC, b"across..")
        assert nt.mmu.read(va + 0xFFC, 8) == b"across.."
    for va in reversed(made):
        system.free(stacks, va, 6, guard=1)
    assert nt.mm.frames.runs == free
