"""Win32 errors: names, texts, and RtlNtStatusToDosError's answers."""

import pytest

from ntsim.abi import ntstatus, winerror
from ntsim.abi.status_errors import RANGES, STARTS
from ntsim.abi.winerror import error_name, status_to_win32, strerror
from ntsim.abi.winerror_text import TEXTS


@pytest.mark.parametrize(
    ("status", "error"),
    [
        ("STATUS_SUCCESS", "ERROR_SUCCESS"),
        ("STATUS_PENDING", "ERROR_IO_PENDING"),
        ("STATUS_BUFFER_OVERFLOW", "ERROR_MORE_DATA"),
        ("STATUS_UNSUCCESSFUL", "ERROR_GEN_FAILURE"),
        ("STATUS_NOT_IMPLEMENTED", "ERROR_INVALID_FUNCTION"),
        ("STATUS_ACCESS_VIOLATION", "ERROR_NOACCESS"),
        ("STATUS_INVALID_HANDLE", "ERROR_INVALID_HANDLE"),
        ("STATUS_INVALID_PARAMETER", "ERROR_INVALID_PARAMETER"),
        ("STATUS_NO_SUCH_DEVICE", "ERROR_NO_SUCH_DEVICE"),
        ("STATUS_INVALID_DEVICE_REQUEST", "ERROR_INVALID_FUNCTION"),
        ("STATUS_END_OF_FILE", "ERROR_HANDLE_EOF"),
        ("STATUS_ACCESS_DENIED", "ERROR_ACCESS_DENIED"),
        ("STATUS_BUFFER_TOO_SMALL", "ERROR_INSUFFICIENT_BUFFER"),
        ("STATUS_OBJECT_NAME_NOT_FOUND", "ERROR_FILE_NOT_FOUND"),
        ("STATUS_OBJECT_NAME_COLLISION", "ERROR_ALREADY_EXISTS"),
        ("STATUS_OBJECT_PATH_NOT_FOUND", "ERROR_PATH_NOT_FOUND"),
        ("STATUS_SHARING_VIOLATION", "ERROR_SHARING_VIOLATION"),
        ("STATUS_DELETE_PENDING", "ERROR_ACCESS_DENIED"),
        ("STATUS_PROCEDURE_NOT_FOUND", "ERROR_PROC_NOT_FOUND"),
        ("STATUS_INSUFFICIENT_RESOURCES", "ERROR_NO_SYSTEM_RESOURCES"),
        ("STATUS_DEVICE_NOT_READY", "ERROR_NOT_READY"),
        ("STATUS_NOT_SUPPORTED", "ERROR_NOT_SUPPORTED"),
        ("STATUS_CANCELLED", "ERROR_OPERATION_ABORTED"),
        ("STATUS_DEVICE_NOT_CONNECTED", "ERROR_DEVICE_NOT_CONNECTED"),
        ("STATUS_IMAGE_ALREADY_LOADED", "ERROR_SERVICE_ALREADY_RUNNING"),
        ("STATUS_DRIVER_UNABLE_TO_LOAD", "ERROR_BAD_DRIVER"),
        ("STATUS_INVALID_IMAGE_HASH", "ERROR_INVALID_IMAGE_HASH"),
        ("STATUS_NOT_FOUND", "ERROR_NOT_FOUND"),
        ("STATUS_FAILED_DRIVER_ENTRY", "ERROR_FAILED_DRIVER_ENTRY"),
        ("STATUS_MESSAGE_NOT_FOUND", "ERROR_MR_MID_NOT_FOUND"),
    ],
)
def test_a_status_of_a_driver_reaches_the_app_as_this_error(status: str, error: str) -> None:
    answer = status_to_win32(getattr(ntstatus, status))
    assert (answer, error_name(answer)) == (getattr(winerror, error), error)


@pytest.mark.parametrize("status", [0xC0FF0001, 0xDEADBEEF, 0x0000FFFF, 0x00000004, 0xCFFFFFFF])
def test_a_status_that_nothing_maps_becomes_317(status: int) -> None:
    assert status_to_win32(status) == winerror.ERROR_MR_MID_NOT_FOUND


def test_a_status_with_the_customer_bit_is_its_own_error() -> None:
    assert status_to_win32(0xE0000001) == 0xE0000001


@pytest.mark.parametrize("status", [0x80070005, 0xC0070005, 0xC0010005])
def test_a_facility_that_carries_a_win32_code_gives_it_back(status: int) -> None:
    assert status_to_win32(status) == winerror.ERROR_ACCESS_DENIED


def test_severity_0xd_counts_as_0xc() -> None:
    assert status_to_win32(0xD0000022) == winerror.ERROR_ACCESS_DENIED


def test_the_ranges_of_the_table_ascend_and_do_not_touch() -> None:
    assert len(STARTS) == len(RANGES)
    ends = [start + len(errors) for start, errors in zip(STARTS, RANGES, strict=True)]
    assert all(end < start for end, start in zip(ends, STARTS[1:], strict=False))


def test_the_first_and_the_last_status_of_every_range_are_mapped() -> None:
    for start, errors in zip(STARTS, RANGES, strict=True):
        for offset in (0, len(errors) - 1):
            assert status_to_win32(start + offset) == errors[offset]


def test_errors_speak_as_windows_does() -> None:
    assert strerror(winerror.ERROR_ACCESS_DENIED) == "Access is denied."
    assert strerror(winerror.ERROR_INVALID_FUNCTION) == "Incorrect function."
    assert strerror(winerror.ERROR_MORE_DATA) == "More data is available."
    assert strerror(123456) == "No error message is available"


def test_every_text_belongs_to_an_error_with_a_name() -> None:
    assert len(TEXTS) >= 150
    assert [code for code in TEXTS if error_name(code) == str(code)] == []


def test_an_unknown_error_is_named_by_its_number() -> None:
    assert error_name(2499) == "2499"
    assert error_name(0x80093333) == "0x80093333"
