"""What drivers ask the system and processes about themselves.

Source: Win32 NtQuerySystemInformation, NtQueryInformationProcess; winsiderss/phnt for layouts.
"""

import struct

from ntsim.wdm import *

ME = (1 << 64) - 1


def query(kind: int) -> bytes:
    """As drivers do: ask for the size, then for the data."""
    length = ULONG()
    status = ZwQuerySystemInformation(kind, NULL, 0, length)
    assert status == STATUS_INFO_LENGTH_MISMATCH
    block = ExAllocatePoolWithTag(PagedPool, length[0], 1)
    assert ZwQuerySystemInformation(kind, block, length[0], length) == 0
    data = read_bytes(block, length[0])
    ExFreePool(block)
    return data


def test_modules_are_the_kernel_hal_and_the_driver(value_of) -> None:
    def body(DriverObject, RegistryPath) -> list:
        data = query(11)
        count = int.from_bytes(data[:4], "little")
        found = [(len(data) - 8) // count]
        for i in range(count):
            entry = data[8 + i * 0x128 :][:0x128]
            base, size = struct.unpack_from("<QI", entry, 0x10)
            offset = int.from_bytes(entry[0x26:0x28], "little")
            name = entry[0x28:].split(b"\0")[0][offset:].decode()
            same = (base, size) == (int(DriverObject.DriverStart), DriverObject.DriverSize)
            found.append((name, same))
        return found

    assert value_of(body) == [
        0x128, ("ntoskrnl.exe", False), ("hal.dll", False), ("drv.sys", True),
    ]  # fmt: skip


def test_processes_are_a_chain_with_their_threads(value_of) -> None:
    def body() -> list:
        length = ULONG()
        ZwQuerySystemInformation(5, NULL, 0, length)
        block = ExAllocatePoolWithTag(PagedPool, length[0], 1)
        status = ZwQuerySystemInformation(5, block, length[0], NULL)
        threads, pid = cast(block + 4, PULONG)[0], cast(block + 0x50, PULONGLONG)[0]
        name = cast(block + 0x38, PUNICODE_STRING)
        text = read_bytes(name.Buffer, name.Length).decode("utf-16-le")
        owners = {cast(block + 0x100 + 0x50 * i + 0x28, PULONGLONG)[0] for i in range(threads)}
        ids = [cast(block + 0x100 + 0x50 * i + 0x30, PULONGLONG)[0] for i in range(threads)]
        mine = PsGetCurrentThreadId() in ids
        return [status, cast(block, PULONG)[0], text, pid, owners, mine]

    assert value_of(body) == [0, 0, "System", 4, {4}, True]


def test_handles_name_their_objects(value_of) -> None:
    def body() -> bool:
        attributes = OBJECT_ATTRIBUTES()
        InitializeObjectAttributes(attributes, NULL, OBJ_KERNEL_HANDLE, NULL, NULL)
        _, Handle = ZwCreateEvent(0x1F0003, attributes, NotificationEvent, FALSE)
        _, Event = ObReferenceObjectByHandle(Handle, 0, ExEventObjectType[0], KernelMode, NULL)
        data = query(16)
        found = [struct.unpack_from("<HHBBHQI", data, 8 + i) for i in range(0, len(data) - 8, 24)]
        return any(e[0] == 4 and e[5] == Event and e[6] == 0x1F0003 for e in found)

    assert value_of(body) is True


def test_basic_information_counts_processors_and_wants_its_size(value_of) -> None:
    def body() -> list:
        block = ExAllocatePoolWithTag(PagedPool, 0x80, 1)
        found = [ZwQuerySystemInformation(0, block, size, NULL) for size in (0x3F, 0x41, 0x40)]
        found += [cast(block + 0x38, PUCHAR)[0], cast(block + 8, PULONG)[0]]
        return [*found, ZwQuerySystemInformation(0x7777, block, 0x80, NULL)]

    mismatch = STATUS_INFO_LENGTH_MISMATCH
    assert value_of(body, processors=3) == [
        mismatch, mismatch, 0, 3, 0x1000, STATUS_INVALID_INFO_CLASS,
    ]  # fmt: skip


def test_a_process_tells_its_id_and_that_it_lives(value_of) -> None:
    def body() -> list:
        block, length = ExAllocatePoolWithTag(PagedPool, 0x80, 1), ULONG()
        found = [ZwQueryInformationProcess(ME, 0, block, 0x2F, length), length[0]]
        found += [ZwQueryInformationProcess(ME, 0, block, 0x30, NULL), cast(block, PULONG)[0]]
        found += [cast(block + 0x20, PULONGLONG)[0], ZwQueryInformationProcess(ME, 999, 0, 0, 0)]
        return [*found, ZwQueryInformationProcess(0x7000, 0, block, 0x30, NULL)]

    assert value_of(body) == [
        STATUS_INFO_LENGTH_MISMATCH, 0x30, 0, STATUS_PENDING, 4, STATUS_INVALID_INFO_CLASS,
        STATUS_INVALID_HANDLE,
    ]  # fmt: skip
