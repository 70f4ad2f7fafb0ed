"""How long it takes until something can happen: imports, help, the table of routines."""

import subprocess
import sys
from collections.abc import Iterator

from benchmarks.row import Row

ROUNDS = 5


def measure() -> Iterator[Row]:
    yield Row("import ntsim", milliseconds("import ntsim"), "ms", aim=100)
    yield Row("import the command line", milliseconds("import ntsim.cli"), "ms")
    table = "from ntsim.abi.routines import lookup; lookup('KeSetEvent')"
    yield Row("first look-up of a kernel routine", milliseconds(table), "ms")


def milliseconds(statement: str) -> float:
    """The best of several fresh interpreters, timed from within, so without Python's own start."""
    program = (
        f"import time; start = time.perf_counter(); {statement};"
        "print((time.perf_counter() - start) * 1000)"
    )
    command = [sys.executable, "-c", program]
    rounds = range(ROUNDS)
    runs = [subprocess.run(command, capture_output=True, text=True, check=True) for _ in rounds]
    return min(float(run.stdout) for run in runs)
