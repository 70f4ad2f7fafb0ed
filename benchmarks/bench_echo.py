"""DeviceIoControl there and back: 16 bytes, METHOD_BUFFERED, a Python driver; and its profile.

All times are the process's own: one thread computes, and who else uses the host does not matter.
"""

import cProfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import ntsim
from benchmarks.profile import shares
from benchmarks.row import Row
from ntsim.win32 import (
    CTL_CODE,
    FILE_ANY_ACCESS,
    FILE_DEVICE_UNKNOWN,
    GENERIC_READ,
    GENERIC_WRITE,
    METHOD_BUFFERED,
    OPEN_EXISTING,
    CreateFile,
    DeviceIoControl,
)

DRIVER = Path(__file__).with_name("echo_driver.py")
ECHO = CTL_CODE(FILE_DEVICE_UNKNOWN, 0x800, METHOD_BUFFERED, FILE_ANY_ACCESS)
DATA = bytes(range(16))
ROUND_TRIPS = 20_000
ROUNDS = 3
PROFILED = 5_000


def measure() -> Iterator[Row]:
    recorded = max(round_trips_a_second(record=True) for _ in range(ROUNDS))
    yield Row("DeviceIoControl round trips, 16 bytes buffered", recorded, "1/s", 50_000)
    bare = max(round_trips_a_second(record=False) for _ in range(ROUNDS))
    yield Row("the same without the recorder", bare, "1/s")
    yield Row("recording costs", 100 * (bare / recorded - 1), "%", note=profile())
    verified = max(round_trips_a_second(verifier="standard") for _ in range(ROUNDS))
    yield Row("the same under Driver Verifier's standard settings", verified, "1/s")
    yield Row("Driver Verifier costs", 100 * (recorded / verified - 1), "%")


def round_trips_a_second(record: bool = True, verifier: str | None = None) -> float:
    seconds: list[float] = []

    def work(call: Callable[[], object]) -> None:
        call()
        start = time.process_time()
        for _ in range(ROUND_TRIPS):
            call()
        seconds.append(time.process_time() - start)

    run_app(work, record, verifier)
    return ROUND_TRIPS / seconds[0]


def run_app(
    work: Callable[[Callable[[], object]], None],
    record: bool = True,
    verifier: str | None = None,
) -> None:
    """Run an app that opens the device and hands `work` a call that is one round trip."""

    def app() -> None:
        access = GENERIC_READ | GENERIC_WRITE
        device = CreateFile(r"\\.\Echo", access, 0, None, OPEN_EXISTING, 0, None)
        work(lambda: DeviceIoControl(device, ECHO, DATA, 16))

    with ntsim.Machine(processors=1, record=record, verifier=verifier) as machine:
        machine.load_driver(DRIVER)
        assert machine.run(app).exit_code == 0


def profile() -> str:
    """Where the time goes: cProfile's own time by function, as shares of the whole."""
    profiler = cProfile.Profile()

    def work(call: Callable[[], object]) -> None:
        call()
        profiler.enable()
        for _ in range(PROFILED):
            call()
        profiler.disable()

    run_app(work)
    return shares(profiler, PROFILED)
