"""Callbacks at a bug check.

Source: WDK KeRegisterBugCheckCallback, KeRegisterBugCheckReasonCallback, "Writing a Bug Check
Callback Routine"; wdm.h KBUGCHECK_BUFFER_DUMP_STATE; ReactOS ntoskrnl/ke/bug.c (checksum, order).
"""

import pytest

from ntsim.errors import BugCheck
from ntsim.wdm import *

GUID_BYTES = bytes(range(16))


def name(text: bytes = b"comp"):
    made = ExAllocatePoolWithTag(NonPagedPoolNx, 16, 0x74736554)
    for index, byte in enumerate(text + b"\0"):
        cast(made, UCHAR)[index] = byte
    return made


def resident(kind):
    """A record in pool: one on the stack would be gone with the routine that registers it."""
    return cast(ExAllocatePoolZero(NonPagedPoolNx, kind.size, 0x74736554), kind)


def plain(routine, buffer=NULL, length: int = 0):
    record = resident(KBUGCHECK_CALLBACK_RECORD)
    KeInitializeCallbackRecord(record)
    return KeRegisterBugCheckCallback(record, routine, buffer, length, name()), record


def secondary(routine, reason: int = KbCallbackSecondaryDumpData):
    record = resident(KBUGCHECK_REASON_CALLBACK_RECORD)
    KeInitializeCallbackRecord(record)
    return KeRegisterBugCheckReasonCallback(record, routine, reason, name(b"extra")), record


@pytest.fixture
def stopped(ntsim_machine):
    """`stopped(body)`: the machine, after `body` ran in a driver and the system stopped."""

    def run(body, **options):
        machine = ntsim_machine(**options)

        def DriverEntry(DriverObject, RegistryPath) -> int:
            body()
            KeBugCheckEx(0xE2, 1, 2, 3, 4)
            return 0

        with pytest.raises(BugCheck) as caught:
            machine.load_driver(DriverEntry, name="drv.sys")
        return caught.value, machine

    return run


def test_a_record_is_registered_once_and_says_so(value_of) -> None:
    def body() -> list:
        done, record = plain(lambda Buffer, Length: None, 0x10, 4)
        checksum = int(record.CallbackRoutine) + 0x10 + 4 + int(record.Component)
        again = KeRegisterBugCheckCallback(record, lambda *_: None, NULL, 0, NULL)
        seen = [done, record.State, record.Checksum == checksum & (1 << 64) - 1, again]
        return [*seen, KeDeregisterBugCheckCallback(record), KeDeregisterBugCheckCallback(record)]

    assert value_of(body) == [True, BufferInserted, True, False, True, False]


def test_callbacks_run_at_high_level_on_the_processor_that_stopped(stopped) -> None:
    seen: list = []
    records: list = []

    def body() -> None:
        buffer = ExAllocatePoolWithTag(NonPagedPoolNx, 64, 0x74736554)

        def called(Buffer, Length) -> None:
            seen.append((KeGetCurrentIrql(), KeGetCurrentProcessorNumber(), Length))
            cast(Buffer, ULONG)[0] = 0x600D

        records.append((plain(called, buffer, 64)[1], buffer))

    stop, machine = stopped(body)
    assert stop.code == 0xE2
    assert seen == [(HIGH_LEVEL, machine.nt.bugcheck_state.processor, 64)]
    record, buffer = records[0]
    read = machine.nt.mmu.read
    assert read(int(buffer), 4) == (0x600D).to_bytes(4, "little")
    assert read(int(record) + 0x38, 1)[0] == BufferFinished


def test_dump_data_comes_first_then_the_last_registered(stopped) -> None:
    order: list = []

    def body() -> None:
        plain(lambda *_: order.append("first"))
        plain(lambda *_: order.append("second"))
        secondary(lambda *_: order.append("dump data"))
        _, gone = plain(lambda *_: order.append("gone"))
        KeDeregisterBugCheckCallback(gone)

    stopped(body)
    assert order == ["dump data", "second", "first"]


def test_secondary_data_with_its_guid_is_kept(stopped) -> None:
    def body() -> None:
        def called(Reason, Record, ReasonSpecificData, Length) -> None:
            data = cast(ReasonSpecificData, KBUGCHECK_SECONDARY_DUMP_DATA)
            assert (Reason, Length) == (KbCallbackSecondaryDumpData, data.size)
            for index, byte in enumerate(GUID_BYTES):
                cast(int(data.Guid), UCHAR)[index] = byte
            RtlFillMemory(data.InBuffer, 5, 0x41)
            data.OutBuffer, data.OutBufferLength = data.InBuffer, 5

        secondary(called)

    _, machine = stopped(body)
    (found,) = machine.nt.bugcheck_state.secondary
    assert (found.component, found.guid, found.data) == ("extra", GUID_BYTES, b"AAAAA")


def test_a_record_that_was_overwritten_is_passed_over(stopped) -> None:
    called: list = []

    def body() -> None:
        plain(lambda *_: called.append("good"))
        _, record = plain(lambda *_: called.append("bad"))
        record.Length = 99

    stopped(body)
    assert called == ["good"]


def test_an_exception_ends_one_callback_and_a_bug_check_in_it_ends_them_all(stopped) -> None:
    """wdm.h BufferIncomplete; inside a bug check the first code stands."""
    called: list = []
    records: list = []

    def body() -> None:
        def stops(*_) -> None:
            called.append("stops")
            KeBugCheckEx(0x1234, 0, 0, 0, 0)

        plain(lambda *_: called.append("never"))
        plain(stops)

        def raises(*_) -> None:
            called.append("raises")
            ExRaiseStatus(STATUS_UNSUCCESSFUL)

        records.append(plain(raises)[1])

    stop, machine = stopped(body)
    assert (stop.code, called) == (0xE2, ["raises", "stops"])
    assert machine.nt.mmu.read(int(records[0]) + 0x38, 1)[0] == BufferIncomplete


def test_other_processors_stand_still_meanwhile(stopped) -> None:
    """A spinning thread on another processor counts no further."""
    counts: list[int] = []

    def body() -> None:
        running = [0]

        def spin(Context) -> None:
            while True:
                running[0] += 1
                KeStallExecutionProcessor(1)

        PsCreateSystemThread(OBJ_KERNEL_HANDLE, NULL, NULL, NULL, spin, NULL)
        interval = LARGE_INTEGER()
        interval.QuadPart = -100_000
        KeDelayExecutionThread(KernelMode, FALSE, interval)

        def called(*_) -> None:
            counts.append(running[0])
            for _ in range(200):
                KeStallExecutionProcessor(50)
            counts.append(running[0])

        plain(called)

    stopped(body, processors=2)
    assert counts[0] == counts[1] > 0


def test_events_and_the_report_of_a_stop_with_callbacks(stopped) -> None:
    _, machine = stopped(lambda: plain(lambda *_: None))
    assert any("bug-check callback of comp" in str(event) for event in machine.events)
    assert "MANUALLY_INITIATED_CRASH" in str(machine.report())


def test_nmi_callbacks_have_handles_that_are_used_up(value_of) -> None:
    def body() -> list:
        one = KeRegisterNmiCallback(lambda Context, Handled: TRUE, NULL)
        two = KeRegisterNmiCallback(lambda Context, Handled: FALSE, NULL)
        done = [KeDeregisterNmiCallback(each) for each in (one, one, two)]
        return [one != two, *done]

    expected = [True, STATUS_SUCCESS, STATUS_INVALID_HANDLE, STATUS_SUCCESS]
    assert value_of(body) == expected
