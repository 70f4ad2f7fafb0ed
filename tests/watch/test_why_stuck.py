"""WHY, for processors that make no progress, and what a hang shows."""

import pytest

import ntsim
from ntsim.watch.hang import hang_text
from tests.watch.conftest import Crash, Write, open_device, steps


def test_a_dpc_that_spins_on_its_own_lock_names_where_it_took_it(crash: Crash) -> None:
    report = crash(
        """\
        Dpc = KDPC()
        Lock = KSPIN_LOCK()

        def routine(Dpc, Context, Argument1, Argument2):
            KeAcquireSpinLockAtDpcLevel(Lock)
            KeAcquireSpinLockAtDpcLevel(Lock)

        def DriverEntry(DriverObject, RegistryPath):
            KeInitializeDpc(Dpc, routine, NULL)
            KeInsertQueueDpc(Dpc, NULL, NULL)
        """
    )
    assert (report.code, report.arguments[0].value) == (0x133, 0)
    assert report.bucket == "0x133_DPC_bad!routine"
    assert "bad.py:8 routine spins for a lock that the same processor holds" in report.summary
    assert any(each.startswith("bad.py:7 routine: Spin lock") for each in steps(report))


def test_a_deadlock_of_two_processors_shows_both_sides(crash: Crash) -> None:
    report = crash(
        """\
        A = KSPIN_LOCK()
        B = KSPIN_LOCK()

        def worker(Context):
            KeAcquireSpinLock(B)
            KeStallExecutionProcessor(50)
            KeAcquireSpinLockAtDpcLevel(A)

        def DriverEntry(DriverObject, RegistryPath):
            PsCreateSystemThread(HANDLE(), 0, NULL, NULL, NULL, worker, NULL)
            KeAcquireSpinLock(A)
            KeStallExecutionProcessor(50)
            KeAcquireSpinLockAtDpcLevel(B)
        """,
        processors=2,
    )
    assert report.code == 0x133
    spins = [step for step in report.why if "spins for spin lock" in step.text]
    assert {step.processor for step in spins} == {0, 1}
    assert {step.where for step in spins} == {"bad.py:9 worker", "bad.py:15 DriverEntry"}


def test_a_processor_with_interrupts_off_for_ever_names_the_cli(crash: Crash) -> None:
    report = crash(
        """\
        def DriverEntry(DriverObject, RegistryPath):
            _disable()
            while True:
                pass
        """,
        processors=2,
    )
    assert (report.code, report.arguments[3].value) == (0x101, 0)
    assert report.processor == 1
    assert report.symbol_name.startswith("bad!DriverEntry")
    assert report.summary == (
        "Processor 0 does not answer: interrupts were off since CLI at bad.py:4 DriverEntry; it "
        "is at bad.py:5 DriverEntry."
    )
    assert [step.processor for step in report.why] == [0, 0, 1, 1]


def test_a_hang_shows_who_waits_where(write_driver: Write) -> None:
    path = write_driver(
        """\
        Event = KEVENT()

        def DriverEntry(DriverObject, RegistryPath):
            KeInitializeEvent(Event, NotificationEvent, FALSE)
            KeWaitForSingleObject(Event, Executive, KernelMode, FALSE, NULL)
        """
    )
    with ntsim.Machine(processors=2) as machine:
        with pytest.raises(ntsim.Hang) as caught:
            machine.load_driver(path)
        text = hang_text(machine.nt, caught.value)
    assert text.startswith("HANG: every processor is idle, at ")
    assert "  0-1  idle\n" in text
    assert "waits for notification event 0x" in text
    assert "     at bad.py:7 DriverEntry\n     > KeWaitForSingleObject(Event," in text


def test_a_hang_shows_which_driver_sits_on_a_request(write_driver: Write) -> None:
    path = write_driver(
        """\
        Link = UNICODE_STRING("\\\\DosDevices\\\\Bad")
        Name = UNICODE_STRING("\\\\Device\\\\Bad")

        def DriverEntry(DriverObject, RegistryPath):
            IoCreateDevice(DriverObject, 0, Name, FILE_DEVICE_UNKNOWN, 0, FALSE)
            IoCreateSymbolicLink(Link, Name)
            DriverObject.MajorFunction[IRP_MJ_CREATE] = create
            return STATUS_SUCCESS

        def create(DeviceObject, Irp):
            IoMarkIrpPending(Irp)
            return STATUS_PENDING
        """
    )
    with ntsim.Machine(processors=2) as machine:
        machine.load_driver(path)
        with pytest.raises(ntsim.Hang) as caught:
            machine.run(open_device, name="App.exe")
        text = hang_text(machine.nt, caught.value)
    assert "  App.exe thread " in text
    assert r"(IRP_MJ_CREATE) is with \Driver\bad" in text


def test_a_hang_of_one_processor_shows_where_it_is(write_driver: Write) -> None:
    path = write_driver(
        """\
        def DriverEntry(DriverObject, RegistryPath):
            _disable()
            while True:
                pass
        """
    )
    with ntsim.Machine(processors=1) as machine:
        with pytest.raises(ntsim.Hang) as caught:
            machine.load_driver(path)
        text = hang_text(machine.nt, caught.value)
    assert "PASSIVE_LEVEL (0), interrupts OFF, VMX off\n     at bad.py:5 DriverEntry" in text
