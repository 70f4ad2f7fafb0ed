"""What processors cost: boot, and an app on each that makes the same number of system calls."""

import time
from collections.abc import Iterator

import ntsim
from benchmarks.bench_echo import DATA, DRIVER, ECHO
from benchmarks.row import Row
from ntsim.win32 import (
    GENERIC_READ,
    GENERIC_WRITE,
    OPEN_EXISTING,
    CreateFile,
    DeviceIoControl,
    Sleep,
)

COUNTS = (1, 2, 4, 8, 16, 32, 64)
CALLS = 200
ROUNDS = 3


def measure() -> Iterator[Row]:
    seconds(2)  # everything is imported and every routine's face compiled
    boot_alone, work_alone = best(1)
    for count in COUNTS[1:]:
        boot, work = best(count)
        yield Row(
            f"{count:>2} processors: boot, in boots of one", boot / boot_alone, "x", count, True
        )
        yield Row(
            f"{count:>2} processors, an app on each: in runs of one", work / work_alone, "x",
            count, at_most=True,
        )  # fmt: skip


def best(count: int) -> tuple[float, float]:
    """The shortest of several rounds, each figure for itself."""
    boots, works = zip(*(seconds(count) for _ in range(ROUNDS)), strict=True)
    return min(boots), min(works)


def app() -> None:
    """CALLS echoes, after the others have had time to start."""
    device = CreateFile(r"\\.\Echo", GENERIC_READ | GENERIC_WRITE, 0, None, OPEN_EXISTING, 0, None)
    Sleep(1)
    for _ in range(CALLS):
        DeviceIoControl(device, ECHO, DATA, 16)


def seconds(count: int) -> tuple[float, float]:
    """Host seconds of a boot, and of running as many apps as there are processors."""
    start = time.perf_counter()
    with ntsim.Machine(processors=count) as machine:
        boot = time.perf_counter() - start
        machine.load_driver(DRIVER)
        start = time.perf_counter()
        for number in range(count):
            machine.start(app, name=f"app{number}.exe")
        machine.run_until_idle()
        return boot, time.perf_counter() - start
