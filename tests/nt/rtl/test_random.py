"""RtlUniform, RtlRandom, RtlRandomEx, ExUuidCreate.

Source: Wine ntdll tests rtl.c (test_RtlUniform, test_RtlRandom); WDK RtlRandomEx; ReactOS kmtests
ExUuid.c; RFC 4122.
"""

import pytest

from ntsim.wdm import *

MAXLONG = 0x7FFFFFFF


@pytest.mark.parametrize(
    ("seed", "number"),
    [(0, 0x7FFFFFC3), (0x80000000, 0x7FFFFFB1), (0x7FFFFFFF, 0x7FFFFFC3), (1, 0x7FFFFFB1)],
)
def test_uniform_is_a_linear_congruential_generator(value_of, seed, number) -> None:
    def body() -> tuple[int, int]:
        variable = ULONG()
        variable[0] = seed
        return RtlUniform(variable), variable[0]

    assert value_of(body) == (number, number)


@pytest.mark.parametrize("routine", [RtlRandom, RtlRandomEx])
def test_shuffled_numbers_are_different_and_in_range(value_of, routine) -> None:
    def body() -> list[int]:
        seed = ULONG()
        return [routine(seed) for _ in range(512)]

    numbers = value_of(body)
    assert len(set(numbers)) == 512
    assert all(0 <= number < MAXLONG for number in numbers)


@pytest.mark.parametrize("routine", [RtlRandom, RtlRandomEx])
def test_the_same_seed_on_a_new_machine_gives_the_same_numbers(value_of, routine) -> None:
    def body() -> list[int]:
        seed = ULONG()
        seed[0] = 77
        return [routine(seed) for _ in range(10)]

    assert value_of(body) == value_of(body)


def test_uuids_are_of_version_1_and_unique(value_of) -> None:
    def body() -> list[bytes]:
        found = []
        for _ in range(50):
            uuid = GUID()
            assert ExUuidCreate(uuid) == STATUS_SUCCESS
            found.append(bytes(cast(int(uuid), UCHAR)[i] for i in range(16)))
        return found

    uuids = value_of(body)
    assert len(set(uuids)) == 50
    for data in uuids:
        assert data[7] & 0xF0 == 0x10
        assert data[8] & 0xC0 == 0x80
