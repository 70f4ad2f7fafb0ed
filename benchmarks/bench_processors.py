"""What processors cost: the same work on each of 1 to 64."""

import time
from collections.abc import Iterator
from pathlib import Path

import ntsim
from benchmarks.row import Row

SAMPLES = Path(__file__).resolve().parents[1]
COUNTS = (1, 2, 4, 8, 16, 32, 64)


def measure() -> Iterator[Row]:
    alone = None
    for count in COUNTS:
        boot, work = seconds(count)
        alone = alone or work
        yield Row(f"{count:>2} processors: boot", boot * 1000, "ms")
        yield Row(f"{count:>2} processors: VMX on and off on each", work * 1000, "ms")
        if count > 1:
            yield Row(
                f"{count:>2} processors: against {count} times one processor",
                work / (count * alone), "x", 1, at_most=True,
            )  # fmt: skip


def seconds(count: int) -> tuple[float, float]:
    """Boot, and opening and closing the tutorial's hypervisor, which visits every processor."""
    start = time.perf_counter()
    with ntsim.Machine(processors=count) as machine:
        boot = time.perf_counter() - start
        machine.load_driver(SAMPLES / "driver" / "hypervisor" / "driver.py")
        start = time.perf_counter()
        process = machine.run(SAMPLES / "userapp" / "hypervisor_app.py")
        work = time.perf_counter() - start
        assert process.exit_code == 0, process.stderr
    return boot, work
