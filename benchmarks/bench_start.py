"""How long it takes until something can happen: imports, boot, a driver's DriverEntry."""

import subprocess
import sys
from collections.abc import Iterator

from benchmarks.row import Row

ROUNDS = 5
BOOT = """
import ntsim
with ntsim.Machine() as machine:
    machine.load_driver("driver/hello.py")
"""


def measure() -> Iterator[Row]:
    imported = milliseconds("import ntsim")
    yield Row("import ntsim", imported, "ms", 100, at_most=True)
    yield Row("import ntsim.machine", milliseconds("import ntsim.machine"), "ms")
    all_in = milliseconds(BOOT)
    before = milliseconds("import ntsim.machine, ntsim.wdm, ntsim.win32")
    yield Row("fresh interpreter to DriverEntry done", all_in, "ms", 200, at_most=True)
    yield Row("of that, boot and load without imports", all_in - before, "ms", 100, at_most=True)
    yield Row("import the command line", milliseconds("import ntsim.cli"), "ms")


def milliseconds(program: str) -> float:
    """The best of several fresh interpreters, timed from within, so without Python's own start."""
    timed = (
        f"import time; start = time.perf_counter()\n{program}\n"
        "print((time.perf_counter() - start) * 1000)"
    )
    command = [sys.executable, "-c", timed]
    rounds = range(ROUNDS)
    runs = [subprocess.run(command, capture_output=True, text=True, check=True) for _ in rounds]
    return min(float(run.stdout) for run in runs)
