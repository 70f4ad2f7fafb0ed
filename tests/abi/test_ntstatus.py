"""NTSTATUS numbers and the severity macros of ntdef.h. Numbers: MS-ERREF, "NTSTATUS Values"."""

import pytest

from ntsim.abi import ntstatus
from ntsim.abi.ntstatus import (
    NT_ERROR,
    NT_INFORMATION,
    NT_SUCCESS,
    NT_WARNING,
    STATUS_BUFFER_OVERFLOW,
    STATUS_OBJECT_NAME_EXISTS,
    STATUS_PENDING,
    STATUS_SUCCESS,
    STATUS_UNSUCCESSFUL,
    status_name,
)

PREFIXES = ("STATUS_", "DBG_", "RPC_NT_", "EPT_NT_")
CODES = {
    name: value
    for name, value in vars(ntstatus).items()
    if name.startswith(PREFIXES) and not name.startswith("STATUS_SEVERITY_")
}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("STATUS_TIMEOUT", 0x00000102),
        ("STATUS_PENDING", 0x00000103),
        ("STATUS_BREAKPOINT", 0x80000003),
        ("STATUS_BUFFER_OVERFLOW", 0x80000005),
        ("STATUS_UNSUCCESSFUL", 0xC0000001),
        ("STATUS_NOT_IMPLEMENTED", 0xC0000002),
        ("STATUS_ACCESS_VIOLATION", 0xC0000005),
        ("STATUS_INVALID_PARAMETER", 0xC000000D),
        ("STATUS_INVALID_DEVICE_REQUEST", 0xC0000010),
        ("STATUS_MORE_PROCESSING_REQUIRED", 0xC0000016),
        ("STATUS_ACCESS_DENIED", 0xC0000022),
        ("STATUS_BUFFER_TOO_SMALL", 0xC0000023),
        ("STATUS_OBJECT_NAME_NOT_FOUND", 0xC0000034),
        ("STATUS_OBJECT_NAME_COLLISION", 0xC0000035),
        ("STATUS_PROCEDURE_NOT_FOUND", 0xC000007A),
        ("STATUS_INSUFFICIENT_RESOURCES", 0xC000009A),
        ("STATUS_NOT_SUPPORTED", 0xC00000BB),
        ("STATUS_CANCELLED", 0xC0000120),
        ("STATUS_STACK_BUFFER_OVERRUN", 0xC0000409),
        ("STATUS_ASSERTION_FAILURE", 0xC0000420),
        ("STATUS_FLT_DO_NOT_ATTACH", 0xC01C000F),
        ("STATUS_HV_FEATURE_UNAVAILABLE", 0xC035001E),
    ],
)
def test_a_well_known_status_has_its_number_and_its_name(name: str, value: int) -> None:
    assert CODES[name] == value
    assert status_name(value) == name


def test_every_status_is_an_unsigned_32_bit_number() -> None:
    assert len(CODES) > 2500
    assert all(0 <= value <= 0xFFFFFFFF for value in CODES.values())


def test_no_two_statuses_share_a_number_except_the_wait_results() -> None:
    shared = {name for name, value in CODES.items() if status_name(value) != name}
    assert shared == {"STATUS_WAIT_0", "STATUS_ABANDONED_WAIT_0"}


def test_an_unknown_status_is_named_by_its_lower_case_hex() -> None:
    assert status_name(0xE0507945) == "0xe0507945"


@pytest.mark.parametrize(
    ("status", "macros"),
    [
        (STATUS_SUCCESS, (True, False, False, False)),
        (STATUS_PENDING, (True, False, False, False)),
        (STATUS_OBJECT_NAME_EXISTS, (True, True, False, False)),
        (STATUS_BUFFER_OVERFLOW, (False, False, True, False)),
        (STATUS_UNSUCCESSFUL, (False, False, False, True)),
    ],
)
def test_the_four_macros_read_the_severity(status: int, macros: tuple[bool, ...]) -> None:
    answers = (NT_SUCCESS(status), NT_INFORMATION(status), NT_WARNING(status), NT_ERROR(status))
    assert answers == macros
