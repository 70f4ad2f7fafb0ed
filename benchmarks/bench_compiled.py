"""Compiled drivers: round trips, calls of exports, and mixed code against bare Unicorn.

All times are the process's own, as in bench_echo.py.
"""

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import ntsim
from benchmarks.row import Row
from driver.c.echo_ioctl import ECHO_BUFFERED
from ntsim.host.pe import PeFile
from ntsim.hw.engine import hostcode
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

DRIVERS = Path(__file__).parents[1] / "driver/c"
MIX, CALLS = (
    CTL_CODE(FILE_DEVICE_UNKNOWN, function, METHOD_BUFFERED, FILE_ANY_ACCESS)
    for function in (0x800, 0x801)
)
ROUND_TRIPS, ROUNDS = 5_000, 3
MIXED_CALLS, EXPORT_CALLS = 1_000_000, 10_000
LOOP = b"\x83\xc7\xff\x75\xf4"
"""The end of work.c's loop around Mix, which begins twelve bytes before the jump's end."""


def measure() -> Iterator[Row]:
    trip = min(seconds("echo", "Echo", ECHO_BUFFERED, ROUND_TRIPS) for _ in range(ROUNDS))
    yield Row("DeviceIoControl round trips, compiled driver", 1 / trip, "1/s", 25_000)
    call = min(seconds("work", "Work", CALLS, 1) for _ in range(ROUNDS)) / EXPORT_CALLS
    yield Row("export call from compiled code", call * 1e6, "us", 6, at_most=True)
    bare = min(bare_seconds() for _ in range(ROUNDS))
    hosted = min(seconds("work", "Work", MIX, 1) for _ in range(ROUNDS))
    yield Row("mixed compiled code, of bare Unicorn's speed", 100 * bare / hosted, "%", 90)
    with hostcode.forbidden():
        hosted = min(seconds("work", "Work", MIX, 1) for _ in range(ROUNDS))
    yield Row("the same on hosts without machine code of ours", 100 * bare / hosted, "%", 40)


def seconds(driver: str, device: str, code: int, count: int) -> float:
    """Processor time of one request, after one to warm up."""
    taken: list[float] = []

    def app() -> None:
        access = GENERIC_READ | GENERIC_WRITE
        handle = CreateFile(f"\\\\.\\{device}", access, 0, None, OPEN_EXISTING, 0, None)
        data = bytes(16)
        taken.append(timed(lambda: DeviceIoControl(handle, code, data, 16), count))

    with ntsim.Machine(processors=1, record=False) as machine:
        machine.load_driver(DRIVERS / f"{driver}.sys")
        assert machine.run(app).exit_code == 0
    return taken[0]


def timed(call: Callable[[], object], count: int) -> float:
    call()
    start = time.process_time()
    for _ in range(count):
        call()
    return (time.process_time() - start) / count


def bare_seconds() -> float:
    """The same loop in a plain Unicorn, nothing around it."""
    from unicorn import UC_ARCH_X86, UC_MODE_64, Uc
    from unicorn.x86_const import UC_X86_REG_RAX, UC_X86_REG_RDI, UC_X86_REG_RSP

    pe = PeFile((DRIVERS / "work.sys").read_bytes())
    base, stack = 0x18_0000_0000, 0x20_0000
    end = base + pe.memory.index(LOOP) + len(LOOP)
    engine = Uc(UC_ARCH_X86, UC_MODE_64)
    engine.mem_map(base, len(pe.memory))
    engine.mem_write(base, bytes(pe.memory))
    engine.mem_map(stack, 0x1000)
    engine.reg_write(UC_X86_REG_RSP, stack + 0x800)
    engine.reg_write(UC_X86_REG_RAX, 27)
    engine.reg_write(UC_X86_REG_RDI, MIXED_CALLS)
    start = time.process_time()
    engine.emu_start(end - 12, end)
    return time.process_time() - start
