"""What many threads, requests and devices cost: one of many against one of few.

Every figure comes from a process of its own, so that memory is that of the one thing measured.
"""

import gc
import multiprocessing
import resource
import sys
import time
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from pathlib import Path

import ntsim
from benchmarks.row import Row
from ntsim.win32 import (
    CTL_CODE,
    FILE_ANY_ACCESS,
    FILE_DEVICE_UNKNOWN,
    FILE_FLAG_OVERLAPPED,
    GENERIC_READ,
    GENERIC_WRITE,
    METHOD_BUFFERED,
    OPEN_EXISTING,
    OVERLAPPED,
    CreateFile,
    DeviceIoControl,
)

DRIVER = Path(__file__).with_name("scale_driver.py")
HOLD, RELEASE, THREADS, STACK, FLAT, PASS = (
    CTL_CODE(FILE_DEVICE_UNKNOWN, function, METHOD_BUFFERED, FILE_ANY_ACCESS)
    for function in range(0x800, 0x806)
)
MEMORY_MB = 1024
MOST_ON_A_STACK = 120
"""StackSize is a CCHAR."""


def measure() -> Iterator[Row]:
    yield from _compared("threads", 1_000, 10_000, threads)
    yield from _compared("outstanding requests", 10_000, 100_000, requests)
    yield from _compared("devices of one driver", 100, 1_000, devices)
    yield from _compared("devices on a stack", 12, MOST_ON_A_STACK, stack)


def _compared(what: str, few: int, many: int, work: Callable[[int], float]) -> Iterator[Row]:
    base_memory = _apart(work, 1)[1]
    few_time, _ = _apart(work, few)
    many_time, memory = _apart(work, many)
    ratio = (many_time / many) / (few_time / few)
    yield Row(f"{many:,} {what}: one, in ones of {few:,}", ratio, "x", 2, at_most=True)
    yield Row("  host time of one", many_time / many * 1e6, "us")
    if work is not stack:
        yield Row("  host memory of one", (memory - base_memory) / many, "KiB")


def _apart(work: Callable[[int], float], count: int) -> tuple[float, float]:
    """Seconds and greatest resident size (KiB) of `work(count)` in a new process."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_run, args=(work, count, theirs))
    process.start()
    theirs.close()
    answer: tuple[float, float] = ours.recv()
    process.join()
    return answer


def _run(work: Callable[[int], float], count: int, answer: Connection) -> None:
    gc.set_threshold(50_000, 20, 100)  # as the command line does
    seconds = work(count)
    size = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    answer.send((seconds, size / 1024 if sys.platform == "darwin" else size))


def _measured(work: Callable[[int], None]) -> float:
    """Host seconds of `work`, called with an overlapped handle to the driver, in an app."""
    found: list[float] = []

    def app() -> None:
        access = GENERIC_READ | GENERIC_WRITE
        device = CreateFile(
            r"\\.\Scale", access, 0, None, OPEN_EXISTING, FILE_FLAG_OVERLAPPED, None
        )
        DeviceIoControl(device, PASS, b"", 0)
        start = time.perf_counter()
        work(device)
        found.append(time.perf_counter() - start)

    with ntsim.Machine(processors=4, memory_mb=MEMORY_MB) as machine:
        machine.load_driver(DRIVER)
        machine.run(app)
    return found[0]


def _number(count: int) -> bytes:
    return count.to_bytes(4, "little")


def threads(count: int) -> float:
    """System threads that all wait for one event, and end."""
    return _measured(lambda device: DeviceIoControl(device, THREADS, _number(count), 0))


def requests(count: int) -> float:
    """Overlapped requests that a driver holds all at once, then completes."""

    def work(device: int) -> None:
        for _ in range(count):
            DeviceIoControl(device, HOLD, b"", 0, OVERLAPPED())
        DeviceIoControl(device, RELEASE, b"", 0)

    return _measured(work)


def devices(count: int) -> float:
    """Devices without a name, each on its own."""
    return _measured(lambda device: DeviceIoControl(device, FLAT, _number(count), 0))


def stack(count: int) -> float:
    """The time of a request that every device of a stack passes down."""
    found: list[float] = []

    def work(device: int) -> None:
        DeviceIoControl(device, STACK, _number(count - 1), 0)
        start = time.perf_counter()
        for _ in range(100):
            DeviceIoControl(device, PASS, b"", 0)
        found.append((time.perf_counter() - start) / 100)

    _measured(work)
    return found[0]
