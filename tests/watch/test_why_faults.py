"""WHY, for memory that may not be touched, or not at that IRQL."""

from tests.watch.conftest import Crash, steps


def test_paged_pool_at_dispatch_level_names_the_raise_the_allocation_and_the_write(
    crash: Crash,
) -> None:
    report = crash(
        """\
        def touch(p):
            write_bytes(p, b"x")

        def DriverEntry(DriverObject, RegistryPath):
            p = ExAllocatePoolWithTag(PagedPool, 8192, 0x31323334)
            old = KeRaiseIrqlToDpcLevel()
            touch(p)
        """
    )
    assert report.code == 0xD1
    assert (report.symbol_name, report.image_name) == ("bad!touch+8", "bad.sys")
    assert report.fault is not None
    assert (report.fault.access, report.fault.memory) == ("write", "Paged pool")
    made, raised, touched, stopped = steps(report)
    assert made.startswith("bad.py:7 DriverEntry: 8192 bytes of paged pool were allocated at")
    assert raised == (
        "bad.py:8 DriverEntry: KeRaiseIrqlToDpcLevel raised the IRQL from PASSIVE_LEVEL (0) to "
        "DISPATCH_LEVEL (2)."
    )
    assert touched.startswith("bad.py:4 touch: A write to 0x")
    assert stopped == ": Bug check DRIVER_IRQL_NOT_LESS_OR_EQUAL (0xd1) on processor 0."
    assert "where page faults cannot be served: KeRaiseIrqlToDpcLevel" in report.summary
    assert report.why[2].source == 'write_bytes(p, b"x")'


def test_a_null_pointer_is_wrong_at_any_irql(crash: Crash) -> None:
    report = crash(
        """\
        def DriverEntry(DriverObject, RegistryPath):
            old = KeRaiseIrqlToDpcLevel()
            return cast(NULL, PIRP).IoStatus.Status
        """
    )
    assert report.code == 0xD1
    assert report.summary.startswith("A read of offset 0x30 from NULL, wrong at any IRQL;")
    assert "Below DISPATCH_LEVEL it would have been an access violation." in report.why[-2].text


def test_irql_ff_is_told_as_interrupts_off_since_cli(crash: Crash) -> None:
    report = crash(
        """\
        def DriverEntry(DriverObject, RegistryPath):
            p = ExAllocatePoolWithTag(PagedPool, 8192, 0x31323334)
            _disable()
            RtlZeroMemory(p, 16)
        """
    )
    assert (report.code, report.irql) == (0xD1, 0xFF)  # RtlZeroMemory is inline: the driver's
    assert "interrupts were off since CLI at bad.py:5 DriverEntry" in report.summary
    assert "CURRENT_IRQL:  ff (interrupts were off)" in report.to_text()
    assert not report.processors[0].interrupts


def test_freed_memory_names_the_line_that_freed_it(crash: Crash) -> None:
    report = crash(
        """\
        def DriverEntry(DriverObject, RegistryPath):
            p = ExAllocatePoolWithTag(NonPagedPool, 8192, 0x31323334)
            ExFreePoolWithTag(p, 0x31323334)
            RtlZeroMemory(p, 16)
        """
    )
    assert report.code == 0x50
    assert report.summary == "A write to nonpaged pool freed at bad.py:5 DriverEntry."
    assert [step.where for step in report.why[:3]] == [
        "bad.py:4 DriverEntry", "bad.py:5 DriverEntry", "bad.py:6 DriverEntry",
    ]  # fmt: skip


def test_a_dpc_explains_dispatch_level_by_itself(crash: Crash) -> None:
    report = crash(
        """\
        Dpc = KDPC()

        def routine(Dpc, Context, Argument1, Argument2):
            write_bytes(Context, b"x")

        def DriverEntry(DriverObject, RegistryPath):
            p = ExAllocatePoolWithTag(PagedPool, 8192, 0x31323334)
            KeInitializeDpc(Dpc, routine, p)
            KeInsertQueueDpc(Dpc, NULL, NULL)
        """
    )
    assert report.code == 0xD1
    assert report.summary.endswith("bad!routine ran as a DPC, at DISPATCH_LEVEL (2).")
    assert any(each.startswith("bad.py:11 DriverEntry: The DPC") for each in steps(report))
