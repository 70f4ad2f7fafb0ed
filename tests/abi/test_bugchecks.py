"""The words for bug checks: complete, well-formed, and the right row for given values."""

import pytest

from ntsim.abi.bugchecks import describe
from ntsim.abi.bugcodes import NAMES
from ntsim.abi.irql import level_name


@pytest.mark.parametrize("code", NAMES)
def test_every_code_has_one_sentence_and_four_meanings_or_none(code: int) -> None:
    description = describe(code)
    assert description.text.endswith(".")
    assert len(description.parameters) in (0, 4)
    assert all(description.parameters)
    for number in [*description.kinds, *description.values]:
        assert 1 <= number <= 4
        assert description.parameters
    for row in description.subcodes:
        assert row.text.endswith((".", ".)"))
        assert len(row.parameters) == 4
        assert set(row.when) <= {1, 2, 3, 4}


def test_system_service_return_at_raised_irql() -> None:
    description = describe(0x4A)
    assert description.name == "IRQL_GT_ZERO_AT_SYSTEM_SERVICE"
    assert description.parameters[1] == "Current IRQL"
    assert description.kinds == {2: "irql"}
    assert "trap frame" in description.dumps


def test_values_choose_the_row() -> None:
    (row,) = describe(0xC4).matching([0x30, 2, 1, 0])
    assert "KeRaiseIrql" in row.text
    assert row.parameters == ("kind of violation", "current IRQL", "requested IRQL", "0")
    assert row.kinds == {2: "irql", 3: "irql"}


def test_several_codes_share_a_row() -> None:
    assert describe(0xC4).case([0x13]) == describe(0xC4).case([0x14])


def test_a_row_can_depend_on_another_parameter_than_the_first() -> None:
    description = describe(0xC1)
    assert description.matching([0x1000]) == []
    (row,) = description.matching([0x1000, 0, 0, 0x24])
    assert "after the end" in row.text


def test_a_row_can_depend_on_two_parameters() -> None:
    description = describe(0x93)
    assert [row.text for row in description.matching([8, 1, 0, 0])] == [
        "A handle was closed or referenced that is invalid."
    ]
    assert description.matching([8, 0x1000, 0, 0]) == []


def test_no_row_leaves_the_code_itself() -> None:
    description = describe(0xC4)
    assert description.case([0xDEAD, 0, 0, 0]) is description


def test_every_verifier_sub_code_appears_once() -> None:
    codes = [value for row in describe(0xC4).subcodes for value in row.when[1]]
    assert len(codes) == len(set(codes)) > 240
    for documented in (0x0, 0x3B, 0x62, 0xFA, 0x1001, 0x2000F, 0x4000A, 0x4000B):
        assert documented in codes


def test_an_unknown_code_has_empty_words() -> None:
    description = describe(0xC0FFEE)
    assert (description.text, description.parameters, description.subcodes) == ("", (), ())


def test_levels_by_name() -> None:
    assert level_name(2) == "DISPATCH_LEVEL"
    assert level_name(13) == "CLOCK_LEVEL"
    assert level_name(7) == "device level 7"
    assert "interrupts were off" in level_name(0xFF)
    assert level_name(0x1000) == "no level: 0x1000"
