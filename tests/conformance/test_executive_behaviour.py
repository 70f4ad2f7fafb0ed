"""How pool, MDLs and objects behave, as public test suites assert it."""

import pytest

from ntsim.errors import BugCheck
from ntsim.wdm import *

PAGE = 0x1000
TAG = 0x74736554


def complete(Irp) -> int:
    Irp.IoStatus.Status = STATUS_SUCCESS
    IoCompleteRequest(Irp, IO_NO_INCREMENT)
    return STATUS_SUCCESS


def wait(object_) -> int:
    return KeWaitForSingleObject(object_, Executive, KernelMode, FALSE, NULL)


# Pool


def test_a_nonpaged_lookaside_list_starts_with_its_documented_depths(value_of) -> None:
    """Wine dlls/ntoskrnl.exe/tests/driver.c, test_lookaside_list."""

    def body() -> list[int]:
        lookaside = NPAGED_LOOKASIDE_LIST()
        ExInitializeNPagedLookasideList(lookaside, NULL, NULL, 0, 32, TAG, 0)
        general = lookaside.L
        return [
            general.Depth,
            general.MaximumDepth,
            general.TotalAllocates,
            general.AllocateMisses,
            general.TotalFrees,
            general.Tag,
            general.Size,
        ]

    assert value_of(body)[:6] == [4, 256, 0, 0, 0, TAG]


@pytest.mark.parametrize("size", [1, 100, PAGE - 4 * 8])
def test_small_blocks_keep_the_callers_tag_in_their_header(value_of, size: int) -> None:
    """ReactOS rostests/kmtests/ntos_ex/ExPools.c (the pool before 19041's)."""

    def body() -> tuple[int, int]:
        block = ExAllocatePoolWithTag(NonPagedPool, size, TAG)
        return block % 16, cast(block - 12, PULONG)[0]

    assert value_of(body) == (0, TAG)


def test_blocks_of_a_page_are_page_aligned(value_of) -> None:
    """ReactOS rostests/kmtests/ntos_ex/ExPools.c."""

    def body() -> list[int]:
        blocks = [
            ExAllocatePoolWithTag(PagedPool, PAGE, TAG),
            ExAllocatePoolWithTag(NonPagedPool, PAGE, TAG),
            ExAllocatePoolWithQuotaTag(PagedPool, PAGE, TAG),
        ]
        return [block % PAGE for block in blocks]

    assert value_of(body) == [0, 0, 0]


@pytest.mark.parametrize(("size", "held"), [(24, 1), (PAGE, 0), (2 * PAGE, 0)])
def test_small_quota_blocks_reference_their_process_until_they_are_freed(
    run_app, size: int, held: int
) -> None:
    """ReactOS rostests/kmtests/ntos_ex/ExPools.c: the pointer count; not for blocks of a page."""
    counts = []

    def references(process) -> int:
        ObReferenceObject(process)
        return ObDereferenceObject(process)

    def control(DeviceObject, Irp) -> int:
        process = PsGetCurrentProcess()
        before = references(process)
        block = ExAllocatePoolWithQuotaTag(PagedPool, size, TAG)
        counts.append(references(process) - before)
        ExFreePoolWithTag(block, TAG)
        counts.append(references(process) - before)
        return complete(Irp)

    run_app(device_control=control)
    assert counts == [held, 0]


def test_a_quota_block_of_the_system_process_references_nothing(value_of) -> None:
    """Windows Internals 7, chapter 5: the System process has no quota."""

    def body() -> int:
        before = ObReferenceObject(PsGetCurrentProcess())
        ExAllocatePoolWithQuotaTag(PagedPool, 24, TAG)
        return ObReferenceObject(PsGetCurrentProcess()) - before

    assert value_of(body) == 1


# MDLs


def test_an_mdl_for_an_irp_becomes_its_mdl_address(value_of) -> None:
    """ReactOS rostests/kmtests/ntos_io/IoMdl.c; WDK IoAllocateMdl for the length: 4 GB less a page
    since Windows 7, where the test asserts Server 2003's 2 GB.
    """

    def body() -> list:
        irp = IoAllocateIrp(1, FALSE)
        block = ExAllocatePoolWithTag(NonPagedPool, 1234, TAG)
        mdl = IoAllocateMdl(block, 1234, FALSE, FALSE, irp)
        huge = IoAllocateMdl(block, 0xFFFF_F001, FALSE, FALSE, NULL)
        return [irp.MdlAddress == mdl, int(mdl.Next), mdl.ByteCount, int(huge)]

    assert value_of(body) == [True, 0, 1234, 0]


# The verifier


def test_a_zw_call_with_a_fast_mutex_held_is_0xc4_0x2001f(ntsim_machine) -> None:
    """0vercl0k/sic#4: a fast mutex is held at APC_LEVEL, where Zw routines may not be called."""

    def DriverEntry(DriverObject, RegistryPath) -> int:
        mutex = FAST_MUTEX()
        ExInitializeFastMutex(mutex)
        ExAcquireFastMutex(mutex)
        ZwClose(0)
        return 0

    machine = ntsim_machine(verifier="IrqlZwPassive")
    with pytest.raises(BugCheck) as caught:
        machine.load_driver(DriverEntry, name="drv.sys")
    code, found = caught.value.code, caught.value.parameters
    assert (code, found[0], *found[2:]) == (0xC4, 0x2001F, 0, 0)
    text = machine.nt.mmu.read(found[1], 64).split(b"\0")[0]
    assert text == b"ZwClose should only be called at IRQL = PASSIVE_LEVEL."


# Objects


def test_references_count_one_by_one(value_of) -> None:
    """ReactOS rostests/kmtests/ntos_ob/ObReference.c."""

    def body() -> list[int]:
        _, handle = PsCreateSystemThread(0, NULL, NULL, NULL, lambda c: None, NULL)
        _, thread = ObReferenceObjectByHandle(handle, 0, NULL, KernelMode, NULL)
        wait(thread)
        first = ObReferenceObject(thread)
        counts = [ObReferenceObject(thread), ObReferenceObject(thread)]
        counts += [ObDereferenceObject(thread), ObDereferenceObject(thread)]
        ZwClose(handle)
        counts.append(ObReferenceObject(thread))
        return [count - first for count in counts]

    assert value_of(body) == [1, 2, 1, 0, 0]


def test_a_handle_of_nothing_is_invalid_and_of_another_type_a_mismatch(ntsim_machine) -> None:
    """Wine dlls/ntoskrnl.exe/tests/driver.c, test_ob_reference."""
    machine = ntsim_machine()
    types = machine.nt.ob.types
    found = []

    def DriverEntry(DriverObject, RegistryPath) -> int:
        _, handle = PsCreateSystemThread(0, NULL, NULL, NULL, lambda c: None, NULL)
        found.append(ObReferenceObjectByHandle(NULL, 0, NULL, KernelMode, NULL)[0])
        for kind in (NULL, types["Process"].va, types["Thread"].va):
            found.append(ObReferenceObjectByHandle(handle, 0, kind, KernelMode, NULL)[0])
        return 0

    machine.load_driver(DriverEntry, name="drv.sys")
    mismatch = STATUS_OBJECT_TYPE_MISMATCH
    assert found == [STATUS_INVALID_HANDLE, STATUS_SUCCESS, mismatch, STATUS_SUCCESS]


def test_the_name_of_an_object_is_told_with_the_size_it_needs(run_driver) -> None:
    """Wine dlls/ntoskrnl.exe/tests/driver.c, test_object_name."""

    def body(DriverObject) -> list:
        name = UNICODE_STRING("\\Device\\Thing")
        named = IoCreateDevice(DriverObject, 0, name, FILE_DEVICE_UNKNOWN, 0, FALSE)[1]
        unnamed = IoCreateDevice(DriverObject, 0, NULL, FILE_DEVICE_UNKNOWN, 0, FALSE)[1]
        block, length = ExAllocatePoolWithTag(NonPagedPool, 256, TAG), ULONG()
        found = []
        for device, room in ((named, 0), (named, 20), (named, 256), (unnamed, 256)):
            status = ObQueryNameString(device, block, room, length)
            found.append((status, length[0]))
        return [*found, cast(block, PUNICODE_STRING).Buffer]

    needed = 16 + 2 * len("\\Device\\Thing") + 2
    assert run_driver(body).value == [
        (STATUS_INFO_LENGTH_MISMATCH, needed),
        (STATUS_INFO_LENGTH_MISMATCH, needed),
        (STATUS_SUCCESS, needed),
        (STATUS_SUCCESS, 16),
        0,
    ]
