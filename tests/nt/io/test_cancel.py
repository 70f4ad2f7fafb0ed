"""Cancelling: the cancel routine, its lock, and the races that end in bug checks."""

import pytest

from ntsim import win32
from ntsim.wdm import *


def irp_with(routine=NULL):
    irp = IoAllocateIrp(1, FALSE)
    if routine:
        IoSetCancelRoutine(irp, routine)
    return irp


def test_cancelling_without_a_routine_only_sets_the_flag(value_of) -> None:
    """Wine ntoskrnl tests test_cancel_irp."""

    def body() -> list:
        irp = irp_with()
        return [IoCancelIrp(irp), irp.Cancel, IoCancelIrp(irp), KeGetCurrentIrql()]

    assert value_of(body) == [False, 1, False, 0]


def test_a_cancel_routine_is_called_once_at_dispatch_level_with_the_lock_held(value_of) -> None:
    def body() -> list:
        seen = []

        def cancel(DeviceObject, Irp) -> None:
            seen.append((KeGetCurrentIrql(), Irp.CancelRoutine, Irp.CancelIrql, Irp.Cancel))
            IoReleaseCancelSpinLock(Irp.CancelIrql)
            seen.append(KeGetCurrentIrql())

        irp = irp_with(cancel)
        return [IoCancelIrp(irp), IoCancelIrp(irp), seen]

    assert value_of(body) == [True, False, [(2, 0, 0, 1), 0]]


def test_setting_a_cancel_routine_returns_the_one_before(value_of) -> None:
    def body() -> list:
        def one(DeviceObject, Irp) -> None: ...

        irp = irp_with()
        before = IoSetCancelRoutine(irp, one)
        address = irp.CancelRoutine
        return [int(before), IoSetCancelRoutine(irp, NULL) == address, irp.CancelRoutine]

    assert value_of(body) == [0, True, 0]


def test_a_cancel_routine_that_keeps_the_lock_bugchecks_0x11b(bugcheck_of) -> None:
    seen = []

    def body() -> None:
        def cancel(DeviceObject, Irp) -> None: ...

        irp = irp_with(cancel)
        seen.append((int(irp), irp.CancelRoutine))
        IoCancelIrp(irp)

    stop = bugcheck_of(body)
    assert (stop.code, stop.parameters[:2]) == (0x11B, seen[0])


def test_cancelling_a_completed_irp_that_has_a_cancel_routine_bugchecks_0x48(bugcheck_of) -> None:
    seen = []

    def body() -> None:
        def cancel(DeviceObject, Irp) -> None: ...

        irp = irp_with(cancel)
        IoSkipCurrentIrpStackLocation(irp)
        seen.append((int(irp), irp.CancelRoutine))
        IoCancelIrp(irp)

    stop = bugcheck_of(body)
    assert (stop.code, stop.parameters[:2]) == (0x48, seen[0])


def test_the_cancel_lock_is_a_spin_lock(value_of) -> None:
    def body() -> list[int]:
        OldIrql = IoAcquireCancelSpinLock()
        inside = KeGetCurrentIrql()
        IoReleaseCancelSpinLock(OldIrql)
        return [OldIrql, inside, KeGetCurrentIrql()]

    assert value_of(body) == [0, 2, 0]


def test_acquiring_the_cancel_lock_twice_bugchecks_0x133(bugcheck_of) -> None:
    assert bugcheck_of(lambda: (IoAcquireCancelSpinLock(), IoAcquireCancelSpinLock())).code == 0x133


# Requests of an app


class Pending:
    """A dispatch routine that pends every request and remembers it."""

    def __init__(self) -> None:
        self.irps = []
        self.cancelled = []

    def dispatch(self, DeviceObject, Irp) -> int:
        IoMarkIrpPending(Irp)
        self.irps.append(Irp)
        IoSetCancelRoutine(Irp, self.cancel)
        return STATUS_PENDING

    def cancel(self, DeviceObject, Irp) -> None:
        IoReleaseCancelSpinLock(Irp.CancelIrql)
        self.cancelled.append(Irp)
        Irp.IoStatus.Status = STATUS_CANCELLED
        Irp.IoStatus.Information = 0
        IoCompleteRequest(Irp, IO_NO_INCREMENT)


@pytest.fixture
def pending():
    return Pending()


def test_the_requests_of_a_thread_that_ends_are_cancelled(run_app, pending) -> None:
    def app() -> None:
        handle = win32.CreateFile(
            "\\\\.\\Thing", win32.GENERIC_READ, 0, None, 3, win32.FILE_FLAG_OVERLAPPED, None
        )
        overlapped = [win32.OVERLAPPED() for _ in range(3)]
        for each in overlapped:
            win32.DeviceIoControl(handle, 0x222000, None, 0, each)

    run_app(app, device_control=pending.dispatch)
    assert sorted(map(int, pending.cancelled)) == sorted(map(int, pending.irps))
    assert len(pending.irps) == 3


def test_cancel_io_ex_cancels_the_request_of_one_overlapped(run_app, pending) -> None:
    def app() -> list[int]:
        handle = win32.CreateFile(
            "\\\\.\\Thing", win32.GENERIC_READ, 0, None, 3, win32.FILE_FLAG_OVERLAPPED, None
        )
        overlapped = [win32.OVERLAPPED() for _ in range(2)]
        for each in overlapped:
            win32.DeviceIoControl(handle, 0x222000, None, 0, each)
        win32.CancelIoEx(handle, overlapped[1])
        return [len(pending.cancelled), pending.cancelled[0] == pending.irps[1]]

    assert run_app(app, device_control=pending.dispatch).value == [1, True]
