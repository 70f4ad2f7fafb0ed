"""Page faults and exceptions that nobody catches: which bug check, with which parameters."""

import pytest

from ntsim.abi import bugcodes
from ntsim.abi.rtl import CONTEXT, EXCEPTION_RECORD
from ntsim.errors import BugCheck, UnmodelledRoutine
from ntsim.intrin import *
from ntsim.wdm import *

UNMAPPED = 0xFFFF_F980_1234_5678
PAGE = 0x1000
PTE_BASE = 0xFFFF_F680_0000_0000
READ_ONLY = ~(1 << 1)


def page_table_entry(va: int) -> int:
    """Address of the entry that maps `va`, through the self-map."""
    return PTE_BASE + (va >> 9 & 0x7F_FFFF_FFF8)


def untouched_paged_pool() -> int:
    """Address of a paged-pool page that is not in memory."""
    return ExAllocatePoolWithTag(PagedPool, 2 * PAGE, 0x41414141) + PAGE


def wait_a_moment() -> None:
    """Let other threads run."""
    interval = LARGE_INTEGER()
    interval.QuadPart = -1000
    KeDelayExecutionThread(KernelMode, FALSE, interval)


@pytest.fixture
def crash(bugcheck_of):
    """(code, parameters, IRQL) of the bug check that driver code ends in."""

    def run(body, **options):
        stop = bugcheck_of(body, **options)
        return stop.code, stop.parameters, stop.irql

    return run


# An address in system space that is not valid, below DISPATCH_LEVEL: cannot be caught


def test_reading_an_invalid_system_address_bugchecks_0x50_read(crash) -> None:
    code, parameters, irql = crash(lambda: cast(UNMAPPED, PIRP).Type)
    assert (code, parameters[:2], parameters[3]) == (0x50, (UNMAPPED, 0), 2)
    assert irql == 0


def test_writing_an_invalid_system_address_bugchecks_0x50_with_2(crash) -> None:
    """19041 x64: 0 read, 2 write, 0x10 execute."""
    code, parameters, _ = crash(lambda: write_bytes(UNMAPPED, b"x"))
    assert (code, parameters[:2]) == (0x50, (UNMAPPED, 2))


def test_a_thread_started_at_an_invalid_address_bugchecks_0x50_execute(crash) -> None:
    def start() -> None:
        PsCreateSystemThread(0, NULL, NULL, NULL, UNMAPPED, NULL)
        wait_a_moment()

    code, parameters, _ = crash(start)
    assert (code, parameters[:2]) == (0x50, (UNMAPPED, 0x10))


def test_0x50_cannot_be_caught(crash) -> None:
    def careless() -> None:
        try:
            read_bytes(UNMAPPED, 4)
        except StructuredException:
            DbgPrint("caught\n")

    assert crash(careless)[0] == 0x50


def test_the_guard_page_below_a_kernel_stack_is_not_mapped(crash) -> None:
    code, parameters, _ = crash(lambda: read_bytes(KeGetCurrentThread().StackLimit - 8, 8))
    assert (code, parameters[1]) == (0x50, 0)


def test_parameter_3_of_0x50_is_the_drivers_instruction(bugcheck_of) -> None:
    seen = []

    def read(DriverObject) -> None:
        seen.append((DriverObject.DriverStart, DriverObject.DriverSize))
        read_bytes(UNMAPPED, 1)

    stop = bugcheck_of(read)
    ((start, size),) = seen
    assert start <= stop.parameters[2] < start + size


# At DISPATCH_LEVEL and above every page fault is fatal


@pytest.mark.parametrize(
    ("touch", "access"),
    [(lambda va: read_bytes(va, 4), 0), (lambda va: write_bytes(va, b"1234"), 1)],
    ids=["read", "write"],
)
def test_touching_paged_out_memory_at_dispatch_level_bugchecks_0xd1(crash, touch, access) -> None:
    seen = []

    def body() -> None:
        seen.append(untouched_paged_pool())
        KeRaiseIrqlToDpcLevel()
        touch(seen[0])

    code, parameters, irql = crash(body)
    assert (code, parameters[:3], irql) == (0xD1, (seen[0], 2, access), 2)


def test_paged_memory_that_is_present_can_be_touched_at_dispatch_level(value_of) -> None:
    def body() -> bytes:
        va = untouched_paged_pool()
        write_bytes(va, b"here")
        old = KeRaiseIrqlToDpcLevel()
        data = read_bytes(va, 4)
        KeLowerIrql(old)
        return data

    assert value_of(body) == b"here"


def test_a_null_pointer_at_dispatch_level_bugchecks_0xd1_at_the_fields_offset(crash) -> None:
    def body() -> None:
        KeRaiseIrqlToDpcLevel()
        cast(NULL, PIRP).IoStatus.Status = 0

    code, parameters, _ = crash(body)
    assert (code, parameters[:3]) == (0xD1, (0x30, 2, 1))


def test_a_fault_in_the_kernels_own_code_at_dispatch_level_bugchecks_0xa(crash) -> None:
    """The instruction is nt's: KeSetEvent of a bad pointer."""

    def body() -> None:
        KeRaiseIrqlToDpcLevel()
        KeSetEvent(UNMAPPED, 0, FALSE)

    code, parameters, irql = crash(body)
    assert (code, parameters[1], irql) == (0xA, 2, 2)
    assert UNMAPPED <= parameters[0] < UNMAPPED + 0x18


def test_executing_an_invalid_address_at_dispatch_level_has_bit_3_set(crash) -> None:
    def body() -> None:
        dpc = KDPC()
        KeInitializeDpc(dpc, UNMAPPED, NULL)
        KeInsertQueueDpc(dpc, NULL, NULL)

    code, parameters, _ = crash(body)
    assert code in (0xA, 0xD1)
    assert parameters[:3] == (UNMAPPED, 2, 8)


def test_with_interrupts_off_the_irql_of_a_fault_is_0xff_whatever_cr8_says(crash) -> None:
    """Dumps of faults in VM-exit handlers: SimpleVisor#35, HyperBone#36."""
    seen = []

    def body() -> None:
        seen.append(untouched_paged_pool())
        _disable()
        seen.append(KeGetCurrentIrql())
        read_bytes(seen[0], 1)

    code, parameters, irql = crash(body)
    assert (code, parameters[:3], irql) == (0xD1, (seen[0], 0xFF, 0), 0xFF)
    assert seen[1] == PASSIVE_LEVEL


# Pages that are present but forbid the access


def test_writing_to_a_read_only_page_bugchecks_0xbe_with_the_page_table_entry(crash) -> None:
    seen = []

    def body() -> None:
        va = untouched_paged_pool()
        write_bytes(va, b"fine")
        entry = cast(page_table_entry(va), PULONGLONG)
        entry[0] = entry[0] & READ_ONLY
        __invlpg(va)
        assert read_bytes(va, 4) == b"fine"
        seen.extend([va, entry[0]])
        write_bytes(va, b"oops")

    code, parameters, _ = crash(body)
    assert code == 0xBE
    assert parameters[0] == seen[0]
    assert parameters[1] & ~0x60 == seen[1] & ~0x60  # but for accessed and dirty


def test_writing_to_the_drivers_own_code_bugchecks_0xbe(crash) -> None:
    def routine() -> None: ...

    def body(DriverObject) -> None:
        DriverObject.DriverUnload = routine
        write_bytes(DriverObject.DriverUnload, b"\xcc")

    assert crash(body)[0] == 0xBE


def test_executing_nonpaged_nx_pool_bugchecks_0xfc(crash) -> None:
    seen = []

    def body() -> None:
        seen.append(ExAllocatePoolWithTag(NonPagedPoolNx, 64, 0x41414141))
        PsCreateSystemThread(0, NULL, NULL, NULL, seen[0], NULL)
        wait_a_moment()

    code, parameters, _ = crash(body)
    assert (code, parameters[0]) == (0xFC, seen[0])
    assert parameters[1] >> 63, "parameter 2 is the page-table entry, whose NX bit is set"


def test_machine_code_in_executable_pool_runs(run_driver) -> None:
    seen = []

    def body() -> None:
        pool = ExAllocatePoolWithTag(NonPagedPool, 64, 0x41414141)
        write_bytes(pool, bytes.fromhex("c7012a000000 c3"))  # mov dword [rcx], 42; ret
        PsCreateSystemThread(0, NULL, NULL, NULL, pool, pool + 32)
        wait_a_moment()
        seen.append(read_bytes(pool + 32, 4))

    run_driver(body)
    assert seen == [b"\x2a\0\0\0"]


def test_the_middle_of_a_python_drivers_code_is_no_routine(run_driver) -> None:
    def body(DriverObject, RegistryPath) -> None:
        PsCreateSystemThread(0, NULL, NULL, NULL, DriverObject.DriverInit + 4, NULL)
        wait_a_moment()

    with pytest.raises(UnmodelledRoutine, match="no routine"):
        run_driver(body)


# Structured exceptions


def test_a_null_pointer_below_dispatch_level_can_be_caught(value_of) -> None:
    def body() -> tuple:
        try:
            cast(NULL, PIRP).IoStatus.Status = 1
        except StructuredException as e:
            return e.ExceptionCode, e.ExceptionInformation
        return ()

    assert value_of(body) == (STATUS_ACCESS_VIOLATION, (1, 0x30))


def test_a_call_through_null_is_an_access_violation_of_kind_8(crash) -> None:
    def body() -> None:
        PsCreateSystemThread(0, NULL, NULL, NULL, NULL, NULL)
        wait_a_moment()

    code, parameters, _ = crash(body)
    assert (code, parameters[0]) == (0x7E, STATUS_ACCESS_VIOLATION)


def test_a_non_canonical_address_is_an_access_violation_of_all_ones(value_of) -> None:
    """#GP has no address: the exception record says read of -1."""

    def body() -> tuple:
        try:
            read_bytes(0x1234_5678_9ABC_DEF0, 1)
        except StructuredException as e:
            return e.ExceptionCode, e.ExceptionInformation
        return ()

    assert value_of(body) == (STATUS_ACCESS_VIOLATION, (0, 0xFFFF_FFFF_FFFF_FFFF))


@pytest.mark.parametrize(
    ("body", "exception"),
    [
        (lambda: cast(NULL, PIRP).Type, STATUS_ACCESS_VIOLATION),
        (lambda: ExRaiseStatus(STATUS_INSUFFICIENT_RESOURCES), STATUS_INSUFFICIENT_RESOURCES),
        (lambda: __readmsr(0x12345), STATUS_PRIVILEGED_INSTRUCTION),
        (lambda: __vmx_on(0x1000), STATUS_ILLEGAL_INSTRUCTION),
        (lambda: 1 // 0, 0xE0507945),
    ],
    ids=["null pointer", "ExRaiseStatus", "RDMSR", "VMXON", "Python error"],
)
def test_an_unhandled_exception_in_driver_entry_bugchecks_0x7e(crash, body, exception) -> None:
    """DriverEntry runs in a system thread."""
    code, parameters, _ = crash(body)
    assert (code, parameters[0]) == (0x7E, exception)


def test_0x7e_points_at_the_exception_and_context_records(ntsim_machine) -> None:
    machine = ntsim_machine()

    def DriverEntry(DriverObject, RegistryPath) -> None:
        cast(0x40, PULONG)[0] = 1

    with pytest.raises(BugCheck) as caught:
        machine.load_driver(DriverEntry, name="drv.sys")
    _, address, record_va, context_va = caught.value.parameters
    record = EXCEPTION_RECORD.at(machine.nt.mmu, record_va)
    assert record.ExceptionCode & 0xFFFFFFFF == STATUS_ACCESS_VIOLATION
    assert record.ExceptionAddress == address
    assert [record.ExceptionInformation[i] for i in range(record.NumberParameters)] == [1, 0x40]
    assert CONTEXT.at(machine.nt.mmu, context_va).Rip == address
    assert machine.nt.describe_address(address).startswith("drv!DriverEntry+")


def test_an_unhandled_exception_at_dispatch_level_in_a_system_thread_is_still_0x7e(crash) -> None:
    """The handler at the bottom of a system thread's stack does not look at the IRQL."""

    def body() -> None:
        KeRaiseIrqlToDpcLevel()
        __readmsr(0x12345)

    code, parameters, irql = crash(body)
    assert (code, parameters[0], irql) == (0x7E, STATUS_PRIVILEGED_INSTRUCTION, 2)


def test_an_unhandled_exception_in_a_dpc_bugchecks_0x1e(crash) -> None:
    def routine(Dpc, Context, One, Two) -> None:
        ExRaiseStatus(STATUS_UNSUCCESSFUL)

    def body() -> None:
        dpc = KDPC()
        KeInitializeDpc(dpc, routine, NULL)
        KeInsertQueueDpc(dpc, NULL, NULL)

    code, parameters, _ = crash(body)
    assert (code, parameters[0]) == (bugcodes.KMODE_EXCEPTION_NOT_HANDLED, STATUS_UNSUCCESSFUL)


@pytest.mark.parametrize("processors", [1, 2])
def test_an_exception_in_a_dpc_never_reaches_the_thread_it_interrupted(
    crash, processors: int
) -> None:
    def routine(Dpc, Context, One, Two) -> None:
        ExRaiseStatus(STATUS_UNSUCCESSFUL)

    def body() -> None:
        dpc = KDPC()
        KeInitializeDpc(dpc, routine, NULL)
        try:
            KeSetTargetProcessorDpc(dpc, processors - 1)
            KeInsertQueueDpc(dpc, NULL, NULL)
            wait_a_moment()
        except StructuredException:
            DbgPrint("caught what was not mine\n")

    code, parameters, irql = crash(body, processors=processors)
    assert (code, parameters[0], irql) == (0x1E, STATUS_UNSUCCESSFUL, 2)


def test_an_exception_in_an_ipi_routine_bugchecks_0x1e(crash) -> None:
    def routine(Context) -> int:
        return __readmsr(0x12345) if KeGetCurrentProcessorNumber() else 0

    def body() -> None:
        KeSetSystemAffinityThread(1)
        KeIpiGenericCall(routine, 0)

    code, parameters, _ = crash(body, processors=2)
    assert (code, parameters[0]) == (0x1E, STATUS_PRIVILEGED_INSTRUCTION)


def test_endless_recursion_is_a_double_fault(crash) -> None:
    def again(depth: int) -> int:
        return again(depth + 1) + 1

    code, parameters, _ = crash(lambda: again(0))
    assert (code, parameters[0]) == (0x7F, 8)


def test_more_locals_than_the_kernel_stack_holds_are_a_double_fault(crash) -> None:
    def body() -> None:
        for _ in range(100):
            (UCHAR * 512)()

    code, parameters, _ = crash(body)
    assert (code, parameters[0]) == (0x7F, 8)


def test_a_bug_check_cannot_be_caught(crash) -> None:
    def body() -> None:
        try:
            KeBugCheckEx(0xE2, 1, 2, 3, 4)
        except BaseException:
            pass
        finally:
            DbgPrint("unwound\n")

    code, parameters, _ = crash(body)
    assert (code, parameters) == (0xE2, (1, 2, 3, 4))
