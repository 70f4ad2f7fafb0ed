"""ProbeForRead and ProbeForWrite: alignment, range, and for writing every page."""

import pytest

from ntsim.wdm import *

PROBE_LIMIT = 0x7FFF_FFFF_0000


@pytest.fixture
def probe(value_of):
    """The exception code of a probe, 0 if it passes."""

    def run(routine, *arguments: int) -> int:
        def body() -> int:
            try:
                routine(*arguments)
            except StructuredException as e:
                return e.ExceptionCode
            return 0

        return value_of(body)

    return run


@pytest.mark.parametrize("routine", [ProbeForRead, ProbeForWrite])
def test_a_length_of_zero_passes_whatever_the_address(probe, routine) -> None:
    assert probe(routine, 0xFFFF_8000_0000_0001, 0, 8) == 0


@pytest.mark.parametrize("routine", [ProbeForRead, ProbeForWrite])
@pytest.mark.parametrize("alignment", [2, 4, 8, 16])
def test_a_misaligned_address_raises(probe, routine, alignment: int) -> None:
    assert probe(routine, 0x10001, 4, alignment) == STATUS_DATATYPE_MISALIGNMENT


@pytest.mark.parametrize("routine", [ProbeForRead, ProbeForWrite])
@pytest.mark.parametrize(
    ("address", "length"),
    [
        (0xFFFF_8000_0000_0000, 1),
        (PROBE_LIMIT, 1),
        (PROBE_LIMIT - 4, 8),
        (0x10000, 0xFFFF_FFFF_FFFF_FFFF),
    ],
)
def test_a_range_that_reaches_system_space_raises(
    probe, routine, address: int, length: int
) -> None:
    assert probe(routine, address, length, 1) == STATUS_ACCESS_VIOLATION


def test_reading_is_probed_without_touching_memory_and_writing_is_not(probe) -> None:
    assert probe(ProbeForRead, 0x10000, 100, 1) == 0
    assert probe(ProbeForWrite, 0x10000, 100, 1) == STATUS_ACCESS_VIOLATION
