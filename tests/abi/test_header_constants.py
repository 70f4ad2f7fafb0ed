"""Constants of the driver and app headers. Numbers: WDK and Windows SDK documentation."""

import itertools

import pytest

from ntsim.abi import (
    bugcodes,
    ioctl,
    kernel_enums,
    ntstatus,
    wdm_constants,
    win32_constants,
    winerror,
    winnt_constants,
)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("DISPATCH_LEVEL", 2),
        ("CLOCK_LEVEL", 13),
        ("HIGH_LEVEL", 15),
        ("IRP_MJ_CREATE", 0x00),
        ("IRP_MJ_DEVICE_CONTROL", 0x0E),
        ("IRP_MJ_INTERNAL_DEVICE_CONTROL", 0x0F),
        ("IRP_MJ_CLEANUP", 0x12),
        ("IRP_MJ_POWER", 0x16),
        ("IRP_MJ_PNP", 0x1B),
        ("IRP_MN_SURPRISE_REMOVAL", 0x17),
        ("IO_KEYBOARD_INCREMENT", 6),
        ("IO_SOUND_INCREMENT", 8),
        ("SL_PENDING_RETURNED", 0x01),
        ("SL_INVOKE_ON_CANCEL", 0x20),
        ("DO_BUFFERED_IO", 0x04),
        ("DO_DIRECT_IO", 0x10),
        ("DO_DEVICE_INITIALIZING", 0x80),
        ("FILE_DEVICE_SECURE_OPEN", 0x100),
        ("MDL_PAGES_LOCKED", 0x0002),
        ("MDL_MAPPED_TO_SYSTEM_VA", 0x0001),
        ("NonPagedPoolNx", 512),
        ("POOL_FLAG_NON_PAGED", 0x40),
        ("POOL_FLAG_PAGED", 0x100),
        ("MmNonCached", 0),
        ("MmNotMapped", -1),
        ("UserRequest", 6),
        ("WrQueue", 15),
        ("WrMutex", 29),
        ("WrRundown", 36),
        ("DelayedWorkQueue", 1),
        ("OBJ_KERNEL_HANDLE", 0x200),
        ("OBJ_CASE_INSENSITIVE", 0x40),
        ("FILE_SYNCHRONOUS_IO_NONALERT", 0x20),
        ("FILE_NON_DIRECTORY_FILE", 0x40),
        ("DPFLTR_IHVDRIVER_ID", 77),
        ("DPFLTR_DEFAULT_ID", 101),
        ("DPFLTR_INFO_LEVEL", 3),
        ("PCIBus", 5),
        ("ACPIBus", 17),
        ("PowerDeviceD3", 4),
        ("PowerSystemShutdown", 6),
        ("ALL_PROCESSOR_GROUPS", 0xFFFF),
        ("SYNCHRONIZE", 0x100000),
        ("FILE_ALL_ACCESS", 0x1F01FF),
        ("EXCEPTION_CONTINUE_EXECUTION", -1),
    ],
)
def test_a_driver_constant_has_its_number(name: str, value: int) -> None:
    assert getattr(wdm_constants, name) == value


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("GENERIC_READ", 0x80000000),
        ("GENERIC_WRITE", 0x40000000),
        ("OPEN_EXISTING", 3),
        ("FILE_FLAG_OVERLAPPED", 0x40000000),
        ("FILE_ATTRIBUTE_NORMAL", 0x80),
        ("INFINITE", 0xFFFFFFFF),
        ("WAIT_TIMEOUT", 258),
        ("STILL_ACTIVE", 259),
        ("MEM_COMMIT", 0x1000),
        ("PAGE_EXECUTE_READWRITE", 0x40),
        ("SERVICE_KERNEL_DRIVER", 1),
        ("SERVICE_DEMAND_START", 3),
        ("SERVICE_ALL_ACCESS", 0xF01FF),
        ("SERVICE_RUNNING", 4),
        ("SC_MANAGER_ALL_ACCESS", 0xF003F),
        ("EVENT_ALL_ACCESS", 0x1F0003),
        ("PROCESS_ALL_ACCESS", 0x1FFFFF),
        ("INVALID_HANDLE_VALUE", 0xFFFFFFFFFFFFFFFF),
    ],
)
def test_an_app_constant_has_its_number(name: str, value: int) -> None:
    assert getattr(win32_constants, name) == value


def test_all_28_major_functions_are_there() -> None:
    majors = {v for n, v in vars(wdm_constants).items() if n.startswith("IRP_MJ_")}
    assert majors == set(range(wdm_constants.IRP_MJ_MAXIMUM_FUNCTION + 1))


def test_generic_file_rights_are_the_sums_that_the_sdk_makes() -> None:
    w = winnt_constants
    assert w.FILE_GENERIC_READ == (
        w.STANDARD_RIGHTS_READ
        | w.FILE_READ_DATA
        | w.FILE_READ_ATTRIBUTES
        | w.FILE_READ_EA
        | w.SYNCHRONIZE
    )


def test_dispatcher_objects_have_the_types_that_a_debugger_shows() -> None:
    assert kernel_enums.MutantObject == 2
    assert kernel_enums.TimerSynchronizationObject == 9
    assert kernel_enums.DpcObject == 19
    assert kernel_enums.ThreadedDpcObject == 26


def test_headers_that_a_driver_includes_together_never_disagree() -> None:
    modules = (wdm_constants, win32_constants, ioctl, ntstatus, winerror, bugcodes)
    for one, other in itertools.combinations(modules, 2):
        shared = {n for n in vars(one) if not n.startswith("_")} & vars(other).keys()
        assert [n for n in sorted(shared) if getattr(one, n) != getattr(other, n)] == []
