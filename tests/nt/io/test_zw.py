"""Files by system call from a driver. Source: WDK ZwCreateFile, ZwDeviceIoControlFile."""

from pathlib import Path

from ntsim.wdm import *

PARROT = Path(__file__).parents[2] / "um" / "parrot.py"
ECHO = CTL_CODE(FILE_DEVICE_UNKNOWN, 0x800, METHOD_BUFFERED, FILE_ANY_ACCESS)
SERVICE = "\\Registry\\Machine\\System\\CurrentControlSet\\Services\\parrot"


def attributes(name: str):
    """Initialized OBJECT_ATTRIBUTES."""
    made = OBJECT_ATTRIBUTES()
    made.Length = sizeof(OBJECT_ATTRIBUTES)
    made.ObjectName = UNICODE_STRING(name)
    made.Attributes = OBJ_CASE_INSENSITIVE | OBJ_KERNEL_HANDLE
    return made


def open_parrot(block, name: str = "\\Device\\Parrot"):
    """(status, handle)."""
    access = GENERIC_READ | GENERIC_WRITE | SYNCHRONIZE
    return ZwOpenFile(access, attributes(name), block, 0, FILE_SYNCHRONOUS_IO_NONALERT)


def test_a_driver_talks_to_another_by_handle(ntsim_machine) -> None:
    machine = ntsim_machine(processors=1)
    machine.load_driver(PARROT)
    found: list[object] = []

    def DriverEntry(DriverObject, RegistryPath):
        block = IO_STATUS_BLOCK()
        status, handle = open_parrot(block)
        data = ExAllocatePoolWithTag(NonPagedPool, 64, 0x74736554)
        write_bytes(data, b"hello")
        found.extend([status, handle >> 31])
        status = ZwDeviceIoControlFile(handle, 0, 0, 0, block, ECHO, data, 5, data + 32, 32)
        found.extend([status, block.Information, read_bytes(data + 32, 5)])
        status = ZwReadFile(handle, 0, 0, 0, block, data, 4, NULL, NULL)
        found.extend([status, block.Information, read_bytes(data, 4)])
        status = ZwWriteFile(handle, 0, 0, 0, block, data, 4, NULL, NULL)
        found.extend([status, block.Information, ZwFlushBuffersFile(handle, block)])
        ZwQueryInformationFile(handle, block, data, 4, 8)
        found.append(cast(data, ULONG)[0] & (FILE_READ_DATA | FILE_WRITE_DATA))
        found.append(ZwClose(handle))
        ExFreePoolWithTag(data, 0x74736554)
        return STATUS_SUCCESS

    machine.load_driver(DriverEntry, name="client.sys")
    rights = FILE_READ_DATA | FILE_WRITE_DATA
    assert found == [
        0, 0x1_FFFF_FFFF, 0, 5, b"hello", 0, 4, b"0123", 0, 4, 0, rights, 0
    ]  # fmt: skip


def test_an_apc_routine_runs_after_the_request_with_the_status_block(ntsim_machine) -> None:
    machine = ntsim_machine(processors=1)
    machine.load_driver(PARROT)
    found: list[object] = []

    def Finished(ApcContext, IoStatusBlock, Reserved):
        found.append((int(ApcContext), int(IoStatusBlock), KeGetCurrentIrql()))

    def DriverEntry(DriverObject, RegistryPath):
        block = IO_STATUS_BLOCK()
        _, handle = open_parrot(block)
        data = ExAllocatePoolWithTag(NonPagedPool, 64, 0x74736554)
        for context in (0x11, 0x22):
            ZwDeviceIoControlFile(handle, 0, Finished, context, block, ECHO, data, 5, data, 32)
        found.append(int(cast(block, UCHAR)))
        ExFreePoolWithTag(data, 0x74736554)
        return ZwClose(handle)

    machine.load_driver(DriverEntry, name="client.sys")
    block = found.pop()
    assert found == [(0x11, block, PASSIVE_LEVEL), (0x22, block, PASSIVE_LEVEL)]


def test_opening_what_does_not_exist(value_of) -> None:
    def work() -> list[int]:
        block = IO_STATUS_BLOCK()
        return [open_parrot(block)[0], open_parrot(block, "\\Nowhere\\Parrot")[0]]

    assert value_of(work) == [STATUS_OBJECT_NAME_NOT_FOUND, STATUS_OBJECT_PATH_NOT_FOUND]


def test_synchronous_io_needs_synchronize_access(value_of) -> None:
    def work() -> int:
        block = IO_STATUS_BLOCK()
        name = attributes("\\Device\\Null")
        return ZwOpenFile(FILE_READ_DATA, name, block, 0, FILE_SYNCHRONOUS_IO_NONALERT)[0]

    assert value_of(work) == STATUS_INVALID_PARAMETER


def test_a_driver_loads_another_by_its_service_key(ntsim_machine) -> None:
    machine = ntsim_machine(processors=2)
    machine.nt.cm.create_service("parrot", str(PARROT))
    found: list[int] = []

    def DriverEntry(DriverObject, RegistryPath):
        block = IO_STATUS_BLOCK()
        service = UNICODE_STRING(SERVICE)
        found.append(ZwLoadDriver(service))
        found.append(ZwLoadDriver(service))
        status, handle = open_parrot(block)
        found.extend([status, ZwClose(handle)])
        found.append(ZwUnloadDriver(service))
        found.append(open_parrot(block)[0])
        found.append(ZwLoadDriver(UNICODE_STRING(SERVICE + "2")))
        return STATUS_SUCCESS

    machine.load_driver(DriverEntry, name="starter.sys")
    loaded, missing = STATUS_IMAGE_ALREADY_LOADED, STATUS_OBJECT_NAME_NOT_FOUND
    assert found == [0, loaded, 0, 0, 0, missing, missing]
