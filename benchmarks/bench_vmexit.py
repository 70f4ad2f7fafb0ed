"""VM exits with a handler in Python that returns, beside the engine alone on the same code."""

import cProfile
import time
from collections.abc import Iterator
from pathlib import Path

import ntsim
from benchmarks.profile import shares
from benchmarks.row import Row
from ntsim.hw.engine import Engine, ExitKind, RegisterFile, World
from ntsim.hw.engine.selftest import Bench

DRIVER = Path(__file__).with_name("cpuid_driver.py")
SERVICE = "\\Registry\\Machine\\SYSTEM\\CurrentControlSet\\Services\\cpuid_driver"
FEW, MANY = 1_000, 31_000
ROUNDS = 3
LOOP = bytes.fromhex("0fa241ffc875f9f4")


def measure() -> Iterator[Row]:
    handled = max(exits_a_second() for _ in range(ROUNDS))
    floor = max(engine_exits_a_second() for _ in range(ROUNDS))
    yield Row("VM exits, CPUID, a handler in Python that returns", handled, "1/s", 100_000)
    yield Row("the engine's floor on the same code", floor, "1/s")
    yield Row("of the floor", 100 * handled / floor, "%", note=profile())


def exits_a_second() -> float:
    """From the difference of two runs, so without boot, load and the start of the engine."""
    return (MANY - FEW) / (seconds(MANY) - seconds(FEW))


def seconds(exits: int) -> float:
    with ntsim.Machine(processors=1) as machine:
        machine.nt.cm.set(SERVICE, "Exits", exits)
        start = time.perf_counter()
        machine.load_driver(DRIVER)
        return time.perf_counter() - start


def profile() -> str:
    with ntsim.Machine(processors=1) as machine:
        machine.nt.cm.set(SERVICE, "Exits", FEW * 5)
        profiler = cProfile.Profile()
        with profiler:
            machine.load_driver(DRIVER)
    return shares(profiler, FEW * 5)


def engine_exits_a_second() -> float:
    bench = Bench()
    bench.put(LOOP)
    bench.registers.r8 = MANY
    start = time.perf_counter()
    exits = run_to_halt(bench.engine, bench.world, bench.registers)
    return exits / (time.perf_counter() - start)


def run_to_halt(engine: Engine, world: World, registers: RegisterFile) -> int:
    exits = 0
    while engine.run(world, registers, 1000).kind is ExitKind.CPUID:
        registers.rip += 2
        exits += 1
    return exits
