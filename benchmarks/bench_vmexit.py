"""VM exits with a handler in Python that returns, beside the engine alone on the same code.

All times are the process's own: one thread computes, and who else uses the host does not matter.
"""

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
TURNS = 20_000
LOOP = bytes.fromhex("0fa241ffc875f9f4")


def measure() -> Iterator[Row]:
    handled = max(exits_a_second() for _ in range(ROUNDS))
    floor = max(engine_exits_a_second() for _ in range(ROUNDS))
    yield Row("VM exits, CPUID, a handler in Python that returns", handled, "1/s", 100_000)
    yield Row("the engine's floor on the same code", floor, "1/s")
    yield Row("of the floor", 100 * handled / floor, "%", note=profile())
    behind_ept = max(exits_a_second(Ept=1) for _ in range(ROUNDS))
    yield Row("the same exits of a guest with EPT", 100 * behind_ept / handled, "%", 95)
    plain, with_ept = (
        min(seconds(Rounds=TURNS, Ept=ept) for _ in range(ROUNDS)) for ept in (0, 1)
    )
    yield Row("a guest's code with EPT, of without", 100 * plain / with_ept, "%", 95)


def exits_a_second(**values: int) -> float:
    """From the difference of two runs, so without boot, load and the start of the engine."""
    few, many = (min(seconds(Exits=n, **values) for _ in range(2)) for n in (FEW, MANY))
    return (MANY - FEW) / (many - few)


def seconds(**values: int) -> float:
    with ntsim.Machine(processors=1) as machine:
        for name, value in values.items():
            machine.nt.cm.set(SERVICE, name, value)
        start = time.process_time()
        machine.load_driver(DRIVER)
        return time.process_time() - start


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
    start = time.process_time()
    exits = run_to_halt(bench.engine, bench.world, bench.registers)
    return exits / (time.process_time() - start)


def run_to_halt(engine: Engine, world: World, registers: RegisterFile) -> int:
    exits = 0
    while engine.run(world, registers, 1000).kind is ExitKind.CPUID:
        registers.rip += 2
        exits += 1
    return exits
