"""Bug-check codes and their names."""

import pytest

from ntsim.abi import bugcodes


@pytest.mark.parametrize(
    ("code", "name"),
    [
        (0x4A, "IRQL_GT_ZERO_AT_SYSTEM_SERVICE"),
        (0xA, "IRQL_NOT_LESS_OR_EQUAL"),
        (0xD1, "DRIVER_IRQL_NOT_LESS_OR_EQUAL"),
        (0xC4, "DRIVER_VERIFIER_DETECTED_VIOLATION"),
        (0x1000007E, "SYSTEM_THREAD_EXCEPTION_NOT_HANDLED_M"),
    ],
)
def test_a_code_has_a_constant_and_a_name(code: int, name: str) -> None:
    assert getattr(bugcodes, name) == code
    assert bugcodes.name_of(code) == name
    assert bugcodes.code_of(name.lower()) == code


def test_no_two_names_share_a_code() -> None:
    constants = [n for n in dir(bugcodes) if n.isupper() and n != "NAMES"]
    assert len(constants) == len(bugcodes.NAMES) == 170


def test_unknown_codes_and_names() -> None:
    assert bugcodes.name_of(0xC0FFEE) == "Unknown bugcheck code"
    assert bugcodes.code_of("NO_SUCH_THING") is None
