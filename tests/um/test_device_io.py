"""CreateFile, DeviceIoControl, ReadFile, WriteFile: what goes in and what comes back."""

import array
import ctypes
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from ntsim import Machine
from ntsim.win32 import *

Run = Callable[..., Any]
Open = Callable[..., Any]


@pytest.mark.parametrize("size", [0, 1, 16, 1024, 1025, 2048, 2049, 4096, 70_000])
def test_an_echo_of_any_size_arrives_whole(
    run: Run, parrot: Open, codes: SimpleNamespace, size: int
) -> None:
    data = bytes(i * 7 & 0xFF for i in range(size))

    def app() -> bytes:
        return DeviceIoControl(parrot(), codes.ECHO, data, size)

    assert run(app) == data


@pytest.mark.parametrize("name", ["ECHO", "ECHO_DIRECT", "ECHO_NEITHER"])
def test_every_method_carries_the_data(
    run: Run, parrot: Open, codes: SimpleNamespace, name: str
) -> None:
    def app() -> bytes:
        return DeviceIoControl(parrot(), getattr(codes, name), b"polly", 100)

    assert run(app) == b"polly"


def test_a_large_direct_transfer_arrives_whole(
    run: Run, parrot: Open, codes: SimpleNamespace
) -> None:
    data = bytes(range(256)) * 1000

    def app() -> bytes:
        return DeviceIoControl(parrot(), codes.ECHO_DIRECT, data, len(data))

    assert run(app) == data


def test_the_result_is_cut_to_information(run: Run, parrot: Open, codes: SimpleNamespace) -> None:
    assert run(lambda: DeviceIoControl(parrot(), codes.ECHO, b"ab", 1000)) == b"ab"


def test_no_output_is_empty_bytes(run: Run, parrot: Open, codes: SimpleNamespace) -> None:
    def app() -> tuple[bytes, bytes]:
        device = parrot()
        return (
            DeviceIoControl(device, codes.ECHO, b"x", 0),
            DeviceIoControl(device, codes.ECHO, None, None),
        )

    assert run(app) == (b"", b"")


@pytest.mark.parametrize(
    "make",
    [bytearray, lambda n: array.array("B", bytes(n)), lambda n: (ctypes.c_char * n)()],
    ids=["bytearray", "array", "ctypes"],
)
def test_a_writable_buffer_is_filled_and_returned(
    run: Run, parrot: Open, codes: SimpleNamespace, make: Callable[[int], Any]
) -> None:
    def app() -> tuple[bool, bytes]:
        buffer = make(8)
        got = DeviceIoControl(parrot(), codes.ECHO, memoryview(b"abc"), buffer)
        return got is buffer, bytes(buffer)

    assert run(app) == (True, b"abc" + bytes(5))


def test_bytes_past_information_stay_as_they_were(
    run: Run, parrot: Open, codes: SimpleNamespace
) -> None:
    def app() -> bytearray:
        return DeviceIoControl(parrot(), codes.ECHO, b"abc", bytearray(b"........"))

    assert run(app) == b"abc....."


def test_a_writable_buffer_brings_its_content_to_the_driver(
    machine: Machine, run: Run, parrot: Open, codes: SimpleNamespace
) -> None:
    run(lambda: DeviceIoControl(parrot(), codes.READ_DIRECT, b"", bytearray(b"from the app")))
    assert machine.debug_output == ["from the app"]


def test_a_failed_direct_call_still_fills_a_writable_buffer(
    run: Run, parrot: Open, codes: SimpleNamespace
) -> None:
    def app() -> tuple[int, bytearray]:
        buffer = bytearray(4)
        with pytest.raises(error) as caught:
            DeviceIoControl(parrot(), codes.FAIL_DIRECT, b"oops", buffer)
        return caught.value.winerror, buffer

    assert run(app) == (ERROR_GEN_FAILURE, b"oops")


def test_a_failed_buffered_call_copies_nothing_back(
    run: Run, parrot: Open, codes: SimpleNamespace
) -> None:
    def app() -> tuple[int, str, bytearray]:
        buffer = bytearray(7)
        with pytest.raises(error) as caught:
            DeviceIoControl(parrot(), codes.FAIL_AFTER_WRITING, b"", buffer)
        return caught.value.winerror, caught.value.funcname, buffer

    assert run(app) == (ERROR_NOT_READY, "DeviceIoControl", bytes(7))


def test_a_warning_raises_and_leaves_the_data_in_the_buffer(
    run: Run, parrot: Open, codes: SimpleNamespace
) -> None:
    def app() -> tuple[int, bytearray]:
        buffer = bytearray(2)
        with pytest.raises(error) as caught:
            DeviceIoControl(parrot(), codes.MORE_DATA, b"abcd", buffer)
        return caught.value.winerror, buffer

    assert run(app) == (ERROR_MORE_DATA, b"ab")


def test_raw_user_memory_goes_both_ways(run: Run, parrot: Open, codes: SimpleNamespace) -> None:
    def app() -> tuple[int, bytes]:
        memory = VirtualAlloc(0, 0x2000, MEM_COMMIT | MEM_RESERVE, PAGE_READWRITE)
        write_bytes(memory, b"raw bytes")
        count = DeviceIoControl(parrot(), codes.ECHO, (memory, 9), (memory + 0x1000, 0x1000))
        return count, read_bytes(memory + 0x1000, 12)

    assert run(app) == (9, b"raw bytes\0\0\0")


@pytest.mark.parametrize("name", ["ECHO", "ECHO_DIRECT", "ECHO_NEITHER"])
@pytest.mark.parametrize(
    ("address", "where"),
    [(0, "input"), (0x10_0000, "input"), (0xFFFF_F800_0000_0000, "input"), (0x10_0000, "output")],
)
def test_a_bad_address_is_error_noaccess(
    run: Run, parrot: Open, codes: SimpleNamespace, name: str, address: int, where: str
) -> None:
    def app() -> int:
        source, target = ((address, 16), 16) if where == "input" else (b"x" * 16, (address, 16))
        with pytest.raises(error) as caught:
            DeviceIoControl(parrot(), getattr(codes, name), source, target)
        return caught.value.winerror

    assert run(app) == ERROR_NOACCESS


def test_a_length_past_the_mapping_is_error_noaccess(
    run: Run, parrot: Open, codes: SimpleNamespace
) -> None:
    def app() -> int:
        memory = VirtualAlloc(0, 0x1000, MEM_COMMIT | MEM_RESERVE, PAGE_READWRITE)
        with pytest.raises(error) as caught:
            DeviceIoControl(parrot(), codes.ECHO, (memory, 0x1001), 0x1001)
        return caught.value.winerror

    assert run(app) == ERROR_NOACCESS


def test_a_missing_device_is_file_not_found(run: Run) -> None:
    def app() -> tuple[Any, ...]:
        with pytest.raises(error) as caught:
            CreateFile(r"\\.\Nobody", GENERIC_READ, 0, None, OPEN_EXISTING, 0, None)
        e = caught.value
        assert isinstance(e, OSError)
        assert GetLastError() == e.winerror
        return e.args

    assert run(app) == (2, "CreateFile", "The system cannot find the file specified.")


@pytest.mark.parametrize(
    "name", [r"\\.\Parrot", r"\\?\Parrot", r"\\.\parrot", r"\\.\GLOBALROOT\Device\Parrot"]
)
def test_a_device_opens_by_each_of_its_names(run: Run, name: str) -> None:
    def app() -> bool:
        return bool(CreateFile(name, GENERIC_READ, 0, None, OPEN_EXISTING, 0, None))

    assert run(app)


def test_access_bits_of_the_code_are_checked_against_the_handle(
    run: Run, parrot: Open, codes: SimpleNamespace
) -> None:
    def app() -> int:
        DeviceIoControl(parrot(), codes.NEEDS_WRITE_ACCESS, b"", 0)
        with pytest.raises(error) as caught:
            DeviceIoControl(parrot(0, GENERIC_READ), codes.NEEDS_WRITE_ACCESS, b"", 0)
        return caught.value.winerror

    assert run(app) == ERROR_ACCESS_DENIED


def test_a_closed_handle_is_invalid(run: Run, parrot: Open, codes: SimpleNamespace) -> None:
    def app() -> list[int]:
        device = parrot()
        device.Close()
        found = []
        for call in (
            lambda: DeviceIoControl(device, codes.ECHO, b"", 0),
            lambda: CloseHandle(device),
            lambda: ReadFile(device, 4),
        ):
            with pytest.raises(error) as caught:
                call()
            found.append(caught.value.winerror)
        return found

    assert run(app) == [ERROR_INVALID_HANDLE] * 3


def test_read_and_write_return_pairs(run: Run, parrot: Open) -> None:
    def app() -> tuple[Any, ...]:
        device = parrot()
        buffer = bytearray(12)
        FlushFileBuffers(device)
        return (
            ReadFile(device, 4),
            ReadFile(device, 100),
            ReadFile(device, buffer),
            WriteFile(device, b"abc"),
        )

    four, ten, filled, written = run(app)
    assert four == (0, b"0123")
    assert ten == (0, b"0123456789")
    assert filled == (0, b"0123456789\0\0")
    assert written == (0, 3)


def test_reading_needs_read_access(run: Run, parrot: Open) -> None:
    def app() -> int:
        with pytest.raises(error) as caught:
            ReadFile(parrot(0, GENERIC_WRITE), 4)
        return caught.value.winerror

    assert run(app) == ERROR_ACCESS_DENIED


@pytest.mark.parametrize(
    "call",
    [
        lambda device: DeviceIoControl(device, 0, "text", 0),
        lambda device: DeviceIoControl(device, 0, b"", b"read-only"),
        lambda device: DeviceIoControl(device, 0, b"", -1),
        lambda device: DeviceIoControl(device, 0, b"", 1.5),
        lambda device: DeviceIoControl("device", 0, b"", 0),
        lambda device: DeviceIoControl(device, 0, b"", 0, overlapped=5),
        lambda device: CreateFile(5, 0, 0, None, OPEN_EXISTING, 0, None),
    ],
)
def test_a_wrong_argument_is_a_type_error_of_the_app(
    machine: Machine, parrot: Open, call: Callable[..., Any]
) -> None:
    process = machine.run(lambda: call(parrot()))
    assert process.exit_code == 1
    assert "TypeError" in process.stderr or "CallerError" in process.stderr
    assert "/ntsim/um/" not in process.stderr


def test_outside_an_app_a_call_says_where_it_works() -> None:
    with pytest.raises(RuntimeError, match=r"CreateFile works only in"):
        CreateFile(r"\\.\Parrot", 0, 0, None, OPEN_EXISTING, 0, None)
