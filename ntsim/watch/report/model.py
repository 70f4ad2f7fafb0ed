"""What a crash report holds. Numbers are ints: addresses, codes, times in 100 ns since power-on."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class _Part(BaseModel):
    """Base of all parts: what is written down does not change, and has no other fields."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Argument(_Part):
    """A parameter of the bug check. `explanation` is what this value stands for, if known."""

    value: int
    meaning: str
    explanation: str


class Frame(_Part):
    """A stack frame: `module!symbol+offset` is where it is executing, `file` and `line` the source.

    `user` marks user-mode code.
    """

    child_sp: int
    return_address: int
    arguments: tuple[int, int, int, int]
    address: int
    module: str
    symbol: str
    offset: int
    file: str
    line: int
    user: bool


class Fault(_Part):
    """The memory access behind a page-fault bug check: "read", "write" or "execute".

    `memory` is "Paged pool", "Nonpaged pool" or empty.
    """

    access: str
    address: int
    memory: str


class Exception_(_Part):
    """The unhandled exception behind 0x1E, 0x3B and 0x7E.

    `record` and `context` are addresses of the EXCEPTION_RECORD and CONTEXT, 0 where the bug check
    does not give them; `rsp` and `eflags` come from the CONTEXT; `flags` are ExceptionFlags.
    `traceback` is that of the Python error behind code 0xE0507945.
    """

    code: int
    name: str
    address: int
    location: str
    text: str
    parameters: tuple[int, ...]
    record: int
    context: int
    rsp: int
    eflags: int
    flags: int
    traceback: tuple[str, ...]


class Registers(_Part):
    """The registers of the compiled code that the report is about, and that code.

    `values` are by name, in WinDbg's order; `code` are lines of disassembly, of which the one that
    starts with ">" is at RIP. `frame` is that place, module!symbol+offset; `symbols` says where
    its names come from.
    """

    frame: str
    symbols: str
    values: dict[str, int]
    code: tuple[str, ...]


class ProcessorReport(_Part):
    """What a processor was doing. `vmx` is "off", "root" or "non-root"."""

    number: int
    idle: bool
    process: str
    thread: str
    irql: int
    interrupts: bool
    rflags: int
    cr0: int
    cr2: int
    cr3: int
    cr4: int
    vmx: str
    stack: tuple[Frame, ...]


class WhyStep(_Part):
    """A step on the way to the bug check. `where` is `eh.py:120 run_vcpu`, `source` that line."""

    time_100ns: int
    processor: int
    thread: str
    where: str
    source: str
    text: str


class FindingReport(_Part):
    """Something wrong with the driver that Windows would not have noticed, or not yet."""

    rule: str
    routine: str
    text: str


class CrashReport(_Part):
    """A bug check as `!analyze -v` sees it, and why it happened.

    `irql` is 0xFF when interrupts were off as the code faulted. `summary` is `why` in one sentence.
    `debug_output` holds the last lines of DbgPrint, of `debug_lines` in all.
    """

    code: int
    name: str
    text: str
    arguments: tuple[Argument, Argument, Argument, Argument]
    irql: int
    processor: int
    time_100ns: int
    process: str
    thread: str
    fault: Fault | None
    exception: Exception_ | None
    registers: Registers | None
    stack: tuple[Frame, ...]
    symbol_name: str
    module_name: str
    image_name: str
    symbol_offset: int
    bucket: str
    processors: tuple[ProcessorReport, ...]
    summary: str
    why: tuple[WhyStep, ...]
    debug_output: tuple[str, ...]
    debug_lines: int
    findings: tuple[FindingReport, ...]
    seed: int
    schedule: str

    @property
    def replay(self) -> str:
        """The line of Python that builds a machine for the same run."""
        return f"ntsim.Machine(schedule={self.schedule!r})"

    def to_text(self, replay: str = "") -> str:
        """The layout of `!analyze -v`, then WHY, then `replay`: by default the property's line."""
        from ntsim.watch.report.text import render

        return render(self, replay or self.replay)
