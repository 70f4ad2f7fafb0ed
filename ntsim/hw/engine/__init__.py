"""Executes machine code: the one room that knows the C library unicorn.

In come RAM (`ntsim.hw.ram`), worlds (`WorldState`: what a processor is, apart from its
general registers) and register files; out come exits, each exactly at its instruction with nothing
executed. What an exit means, and what the instruction then does, is decided above.

    engine = Engine(ram)
    world = engine.world(WorldState(cr3=root))
    registers = RegisterFile()
    registers.rip, registers.rsp = entry, stack
    exit_ = engine.run(world, registers, steps=1000)
    if exit_.kind is ExitKind.CPUID: ...; registers.rip += exit_.instruction_length

The library is loaded by the first `world`: a machine without compiled code or guests never does.
How it is done: `native.py` first, then `world.py`, `core.py`.

Where the engine differs from silicon: IN, OUT and INS are not checked against CPL and the TSS (see
`Exit.io_allowed`); a jump to a non-canonical address faults at the target, a stack access through
one raises #GP, not #SS; no #AC, no SSE exceptions, no debug-register breakpoints; where the library
counts instructions, 128-bit VEX ones execute as their SSE forms (elsewhere all are #UD); a nested
fault does not tell a page walk from the access, and nested tables cannot express execute-only
pages.
"""

from ntsim.hw.engine.core import Check, Engine
from ntsim.hw.engine.decode import Instruction, MemoryOperand
from ntsim.hw.engine.exits import Exit, ExitKind
from ntsim.hw.engine.registers import RegisterFile, ResidentRegisters
from ntsim.hw.engine.state import WorldState
from ntsim.hw.engine.unicorn_c import EngineError
from ntsim.hw.engine.view import View
from ntsim.hw.engine.world import Intercept, World

__all__ = [
    "Check",
    "Engine",
    "EngineError",
    "Exit",
    "ExitKind",
    "Instruction",
    "Intercept",
    "MemoryOperand",
    "RegisterFile",
    "ResidentRegisters",
    "View",
    "World",
    "WorldState",
]
