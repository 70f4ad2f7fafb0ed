"""Hard errors that stop the machine, and requests that fail. The test suite's cases are facts."""

import pytest

from ntsim import win32
from ntsim.wdm import *
from tests.conftest import IOCTL_BUFFERED, open_thing, thing_driver

OPTION_SHUTDOWN = 6


def test_an_error_that_shuts_down_is_the_stop_code_itself(bugcheck_of) -> None:
    def body():
        words = cast(ExAllocatePoolZero(PagedPool, 48, 1), PULONGLONG)
        words[0], words[1] = 0x1234, 0x5678
        ExRaiseHardError(STATUS_ASSERTION_FAILURE, 2, 0, words, OPTION_SHUTDOWN)

    stop = bugcheck_of(body)
    assert (stop.code, tuple(stop.parameters)) == (0xC0000420, (0x1234, 0x5678, 0, 0))


def test_what_is_no_error_does_not_stop_the_machine(value_of) -> None:
    def body():
        return ExRaiseHardError(0x40000004, 0, 0, NULL, OPTION_SHUTDOWN)

    assert value_of(body) == (STATUS_SUCCESS, 0)


def test_after_25_boxes_nobody_reads_no_more_are_queued(value_of) -> None:
    def body():
        return [bool(IoRaiseInformationalHardError(0, NULL, NULL)) for _ in range(27)]

    assert value_of(body) == [True] * 25 + [False] * 2


def test_a_request_that_nobody_retries_is_completed_with_its_status(ntsim_machine) -> None:
    results = []

    def control(DeviceObject, Irp):
        Irp.IoStatus.Status = STATUS_DEVICE_NOT_READY
        IoMarkIrpPending(Irp)
        IoRaiseHardError(Irp, NULL, DeviceObject)
        return STATUS_PENDING

    def app():
        with pytest.raises(win32.error) as caught:
            win32.DeviceIoControl(open_thing(), IOCTL_BUFFERED, None, 0)
        results.append(caught.value.winerror)

    machine = ntsim_machine()
    machine.load_driver(thing_driver(device_control=control), name="drv.sys")
    machine.run(app, name="app.exe")
    assert results == [21]  # ERROR_NOT_READY


def test_threads_say_whether_they_want_boxes(value_of) -> None:
    def body():
        thread = PsGetCurrentThread()
        PsSetThreadHardErrorsAreDisabled(thread, TRUE)
        return bool(PsGetThreadHardErrorsAreDisabled(thread)), bool(IoSetThreadHardErrorMode(TRUE))

    assert value_of(body) == (True, False)
