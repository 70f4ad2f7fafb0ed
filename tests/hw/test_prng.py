"""Our own pseudo-random numbers: the same everywhere, for ever (the schedule's version says so)."""

from ntsim.hw.prng import Random


def test_the_stream_is_splitmix64() -> None:
    """Published first outputs for seed 1234567."""
    random = Random(1234567)
    assert [random.next() for _ in range(5)] == [
        6457827717110365317,
        3203168211198807973,
        9817491932198370423,
        4593380528125082431,
        16408922859458223821,
    ]


def test_purposes_give_independent_streams() -> None:
    streams = [Random(5, purpose) for purpose in ("", "schedule", "frames")]
    assert len({tuple(stream.next() for _ in range(4)) for stream in streams}) == 3


def test_numbers_stay_below_their_limit_and_reach_all_of_it() -> None:
    random = Random(9)
    assert {random.below(7) for _ in range(500)} == set(range(7))


def test_a_shuffle_is_a_permutation_that_the_seed_decides() -> None:
    def shuffled(seed: int) -> list[int]:
        items = list(range(20))
        Random(seed).shuffle(items)
        return items

    assert sorted(shuffled(1)) == list(range(20))
    assert shuffled(1) == shuffled(1) != shuffled(2)
