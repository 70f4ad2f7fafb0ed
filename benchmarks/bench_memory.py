"""Peak memory and wall time of the forum scenario, in a process of its own.

A first run writes the modules' bytecode, as the first use of an installation does; the second is
measured. Linux counts what the parent had before exec into a child's ru_maxrss, but not into VmHWM.
"""

import subprocess
import sys
import time
from collections.abc import Iterator
from importlib.util import find_spec

from benchmarks.row import Row

PROGRAM = """
import sys
from ntsim.cli import main
status = main(["run", "osr-vtx-0x4a", "--json"])
import resource
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
if sys.platform == "linux":
    with open("/proc/self/status") as lines:
        peak = next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))
print(peak, file=sys.stderr)
sys.exit(status)
"""


def measure() -> Iterator[Row]:
    if find_spec("resource") is None:
        return
    command = [sys.executable, "-c", PROGRAM]
    subprocess.run(command, capture_output=True, check=True)
    start = time.perf_counter()
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    elapsed = time.perf_counter() - start
    kilobytes = int(run.stderr) / (1024 if sys.platform == "darwin" else 1)
    yield Row("ntsim run osr-vtx-0x4a: peak memory", kilobytes / 1024, "MiB", 100, at_most=True)
    yield Row("ntsim run osr-vtx-0x4a: start to end", elapsed * 1000, "ms")
