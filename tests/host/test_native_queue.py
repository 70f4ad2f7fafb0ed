"""A compiled driver with a cancel-safe queue: its routines are called back from the kernel."""

from pathlib import Path

import pytest

from ntsim.win32 import *

QUEUE = Path(__file__).parents[2] / "driver/c/queue.sys"
ERROR_OPERATION_ABORTED, ERROR_NO_SUCH_DEVICE = 995, 433


def app() -> None:
    access, flags = GENERIC_READ | GENERIC_WRITE, FILE_FLAG_OVERLAPPED
    handle = CreateFile(r"\\.\Queue", access, 0, None, OPEN_EXISTING, flags, None)
    requests = []
    for _ in range(4):
        request, buffer = OVERLAPPED(), bytearray(8)
        ReadFile(handle, buffer, request)
        requests.append((request, buffer))
    CancelIoEx(handle, requests[1][0])
    writing = OVERLAPPED()
    WriteFile(handle, b"first", writing)
    assert GetOverlappedResult(handle, writing, True) == 5
    WriteFile(handle, b"third", writing)
    assert GetOverlappedResult(handle, requests[0][0], True) == 5
    assert GetOverlappedResult(handle, requests[2][0], True) == 5
    assert (requests[0][1][:5], requests[2][1][:5]) == (b"first", b"third")
    with pytest.raises(error) as canceled:
        GetOverlappedResult(handle, requests[1][0], True)
    assert canceled.value.winerror == ERROR_OPERATION_ABORTED
    CloseHandle(handle)
    print("done")


@pytest.mark.parametrize("seed", range(4))
def test_reads_pend_are_canceled_completed_and_cleaned_up(ntsim_machine, seed) -> None:
    machine = ntsim_machine(seed=seed)
    driver = machine.load_driver(QUEUE)
    process = machine.run(app)
    assert (process.exit_code, process.stderr, process.stdout) == (0, "", "done\n")
    machine.unload_driver(driver)
    assert machine.debug_output == ["cleanup: 2 canceled so far"]
    assert machine.findings == ()


def test_unloading_while_reads_pend_waits_for_cleanup_and_close(ntsim_machine) -> None:
    """WDK, IoDeleteDevice and DriverUnload: with a file open the unload is pending. Nobody can open
    the device any more; reads stay queued until the app goes, and then the driver does."""
    machine = ntsim_machine(processors=2, seed=1)
    driver = machine.load_driver(QUEUE)
    seen = []

    def reader() -> None:
        access, flags = GENERIC_READ | GENERIC_WRITE, FILE_FLAG_OVERLAPPED
        handle = CreateFile(r"\\.\Queue", access, 0, None, OPEN_EXISTING, flags, None)
        requests = [OVERLAPPED() for _ in range(3)]
        for request in requests:
            ReadFile(handle, bytearray(8), request)
        Sleep(100)
        writing = OVERLAPPED()
        WriteFile(handle, b"late", writing)
        seen.append([GetOverlappedResult(handle, each, True) for each in (requests[0], writing)])
        Sleep(100)

    def other() -> None:
        with pytest.raises(error) as refused:
            CreateFile(r"\\.\Queue", GENERIC_READ, 0, None, OPEN_EXISTING, 0, None)
        seen.append(refused.value.winerror)

    process = machine.start(reader)
    machine.run_for(500_000)
    machine.unload_driver(driver)
    assert not driver.unloaded
    assert machine.run(other).stderr == ""
    machine.run_to_exit([process])
    machine.run_until_idle()
    assert (process.exit_code, process.stderr) == (0, "")
    assert seen[1] == [4, 4], "the driver goes on with its file"
    assert seen[0] == ERROR_NO_SUCH_DEVICE
    assert driver.unloaded
    assert machine.debug_output == ["cleanup: 2 canceled so far"]
    assert machine.findings == ()
