"""Control codes: CTL_CODE as in the WDK, and its inverse."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ntsim.abi import ioctl


@pytest.mark.parametrize(
    ("code", "parts"),
    [
        # The forum driver's EH_RUN; disk geometry, SMART, device number, reparse point; the
        # hypervisor tutorial's METHOD_NEITHER code.
        (0x0022E001, (ioctl.FILE_DEVICE_UNKNOWN, 0x800, ioctl.METHOD_IN_DIRECT, 3)),
        (0x00070000, (ioctl.FILE_DEVICE_DISK, 0, ioctl.METHOD_BUFFERED, 0)),
        (0x0007C088, (ioctl.FILE_DEVICE_DISK, 0x22, ioctl.METHOD_BUFFERED, 3)),
        (0x002D1080, (ioctl.FILE_DEVICE_MASS_STORAGE, 0x420, ioctl.METHOD_BUFFERED, 0)),
        (0x000900A8, (ioctl.FILE_DEVICE_FILE_SYSTEM, 42, ioctl.METHOD_BUFFERED, 0)),
        (0x9C40240F, (40000, 0x903, ioctl.METHOD_NEITHER, 0)),
    ],
)
def test_known_codes_come_apart_and_go_together(code: int, parts: tuple[int, ...]) -> None:
    assert ioctl.decode(code) == parts
    assert ioctl.CTL_CODE(*parts) == code


@given(st.integers(0, 0xFFFF_FFFF))
def test_decoding_loses_nothing(code: int) -> None:
    assert ioctl.decode(code).value == code


def test_the_definition_line_uses_names_where_there_are_any() -> None:
    assert str(ioctl.decode(0x0022E001)) == (
        "CTL_CODE(FILE_DEVICE_UNKNOWN, 0x800, METHOD_IN_DIRECT, "
        "FILE_READ_ACCESS | FILE_WRITE_ACCESS)"
    )
    assert str(ioctl.decode(0x9C40240F)) == (
        "CTL_CODE(0x9c40, 0x903, METHOD_NEITHER, FILE_ANY_ACCESS)"
    )


def test_device_type_names_are_those_of_the_header() -> None:
    assert ioctl.DEVICE_NAMES[0x22] == "FILE_DEVICE_UNKNOWN"
    assert ioctl.DEVICE_NAMES[0x27] == "FILE_DEVICE_8042_PORT"
    assert len(set(ioctl.DEVICE_NAMES.values())) == len(ioctl.DEVICE_NAMES)
    assert max(ioctl.DEVICE_NAMES) < ioctl.FIRST_VENDOR_DEVICE_TYPE


def test_more_than_32_bits_is_refused() -> None:
    with pytest.raises(AssertionError, match="32-bit"):
        ioctl.decode(1 << 32)
