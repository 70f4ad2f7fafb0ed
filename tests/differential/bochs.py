"""Bochs' processor as a machine of its own: memory, a root program, VT-x.

`bochscpu` (package bochscpu-python) is Bochs' CPU without a computer around it: its chipset and
port bus are stubs that end the process when they are called. Those that VT-x and IN need are
replaced here, in memory, when the module is loaded: the A20 line is open, ports read as ones, the
timers of the chipset never fire.

What the processor runs lies in physical memory that Python shares with it.
"""

import atexit
import ctypes
import mmap
import struct
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import bochscpu
import bochscpu.cpu
import bochscpu.memory
import keystone

from ntsim.abi import vmx_constants as abi
from ntsim.hw.vmx.results import ARITHMETIC_FLAGS

PAGE = 0x1000
GUEST_RAM = 0x100_0000
"""Bytes of memory that both machines have; Bochs' root program lies behind them."""
RAM_SIZE = GUEST_RAM + 0x80_0000
_PML4, _PDPT, _PD = 0x100_1000, 0x100_2000, 0x100_3000
PROGRAM, STACK_TOP = 0x101_0000, 0x103_0FF0
HOST_GDT, HOST_IDT, HOST_TSS, HOST_STOP = 0x104_0000, 0x105_0000, 0x106_0000, 0x107_0000
VMXON_REGION, VMCS_REGION, TABLE = 0x108_0000, 0x108_1000, 0x110_0000
CR0, CR4, EFER = 0x8005_0033, 0x0004_2620, 0xD01
CODE, DATA, TASK = 0x10, 0x18, 0x40
PAT_AT_RESET = 0x0007_0406_0007_0406
END = b"\x0f\x08"
"""INVD ends a program: a guest cannot execute it, and unlike HLT it leaves the processor active."""
_INVD = bochscpu.CacheControlType.INSTR_INVD.value
GPRS = "rax rcx rdx rbx rsp rbp rsi rdi r8 r9 r10 r11 r12 r13 r14 r15".split()

_STUBS = {
    "_ZN14bx_pc_system_c14get_enable_a20Ev": "b801000000c3",  # mov eax, 1; ret
    "_ZN14bx_pc_system_c20activate_timer_ticksEjmb": "c3",
    "_ZN14bx_pc_system_c16deactivate_timerEj": "c3",
    "_ZN14bx_pc_system_c6invlpgEm": "c3",
    "_ZN12bx_devices_c3inpEtj": "b8ffffffffc3",  # mov eax, -1; ret
    "_ZN12bx_devices_c4outpEtjj": "c3",
}
_MISSING_OPTIONS = (b"misc.port_e9_hack.enabled", b"misc.port_e9_hack.all_rings")
"""Asked for by every I/O instruction, and not in the module's table of options."""
_OPTION_THAT_IS_OFF = b"cpuid.fma4\0"


class BochsStuckError(Exception):
    """The program did not come to an end in the number of instructions it was given."""


@cache
def replace_stubs() -> None:
    """Open the A20 line and so on; RuntimeError names what the module does not export."""
    module = ctypes.CDLL(bochscpu._bochscpu.__file__)
    for symbol, code in _STUBS.items():
        try:
            function = getattr(module, symbol)
        except AttributeError as missing:
            raise RuntimeError(f"this build of bochscpu does not export {symbol}") from missing
        at = ctypes.cast(function, ctypes.c_void_p).value
        assert at is not None
        _overwrite(at, bytes.fromhex(code))
    for start, size in _constants_of(bochscpu._bochscpu.__file__):
        held = ctypes.string_at(start, size)
        for option in _MISSING_OPTIONS:
            at = held.find(option + b"\0")
            if at >= 0:
                _overwrite(start + at, _OPTION_THAT_IS_OFF)


def _overwrite(at: int, data: bytes) -> None:
    process = ctypes.CDLL(None, use_errno=True)
    start = at & -PAGE
    everything = mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC
    pages = ctypes.c_size_t(at - start + PAGE)
    if process.mprotect(ctypes.c_void_p(start), pages, everything):
        raise RuntimeError(f"no leave to write at {at:#x}: errno {ctypes.get_errno()}")
    ctypes.memmove(at, data, len(data))


def _constants_of(path: str) -> Iterator[tuple[int, int]]:
    """Where the read-only data of a loaded module are, as (address, size)."""
    for line in Path("/proc/self/maps").read_text(encoding="ascii").splitlines():
        place, access, *_, name = line.split()
        if name == path and access.startswith("r--"):
            start, end = (int(one, 16) for one in place.split("-"))
            yield start, end - start


def assemble(text: str, at: int = PROGRAM, bits: int = 64) -> bytes:
    """Machine code for `at`."""
    mode = {16: keystone.KS_MODE_16, 32: keystone.KS_MODE_32, 64: keystone.KS_MODE_64}[bits]
    code, _ = keystone.Ks(keystone.KS_ARCH_X86, mode).asm(text, at)
    return bytes(code)


@dataclass
class Run:
    """How a run ended: `exceptions` (vector, error code) raised, `exits` (reason, qualification).

    `ended`: at its end; `halted`: by HLT of a guest, or shut down. `passed`: a VM entry came back
    to the next instruction, so it failed.
    """

    ended: bool = False
    halted: bool = False
    passed: bool = False
    exceptions: list[tuple[int, int]] = field(default_factory=list)
    exits: list[tuple[int, int]] = field(default_factory=list)


class Bochs:
    """One processor, in 64-bit mode with an identity map when `root` programs run."""

    def __init__(self) -> None:
        replace_stubs()
        self.memory = mmap.mmap(-1, RAM_SIZE)
        base = ctypes.addressof(ctypes.c_char.from_buffer(self.memory))
        for at in range(0, RAM_SIZE, PAGE):
            bochscpu.memory.page_insert(at, base + at)
        self._nowhere = mmap.mmap(-1, PAGE)
        self._nowhere_at = ctypes.addressof(ctypes.c_char.from_buffer(self._nowhere))
        struct.pack_into("<Q", self.memory, _PML4, _PDPT | 7)
        for gigabyte in range(4):
            directory = _PD + gigabyte * PAGE
            struct.pack_into("<Q", self.memory, _PDPT + 8 * gigabyte, directory | 7)
            entries = [gigabyte << 30 | n << 21 | 0x87 for n in range(512)]
            struct.pack_into("<512Q", self.memory, directory, *entries)
        self.write(HOST_STOP, END)
        self.write(
            HOST_GDT + CODE, struct.pack("<QQ", 0x00AF_9B00_0000_FFFF, 0x00CF_9300_0000_FFFF)
        )
        gate = struct.pack("<HHBBHII", HOST_STOP & 0xFFFF, CODE, 0, 0x8E, HOST_STOP >> 16, 0, 0)
        self.write(HOST_IDT, gate * 256)
        self._programs: dict[str, int] = {}
        self._next_program = PROGRAM
        self.session: Any = None
        atexit.register(self.close)
        self.reset()

    def close(self) -> None:
        """Let go of the processor; one that lives longer than Python ends in a bad free."""
        self.session = None

    def _beyond_memory(self, pa: int) -> None:
        self.beyond_memory = True
        bochscpu.memory.page_insert(pa & -PAGE, self._nowhere_at)

    def reset(self) -> None:
        """A processor out of reset, with empty caches; memory stays."""
        self.beyond_memory = False
        self._nowhere[:] = b"\xff" * PAGE
        self.session = None
        self.session = bochscpu.Session()
        self.session.missing_page_handler = self._beyond_memory
        self.root("mov ecx, 0x3a; mov eax, 5; xor edx, edx; wrmsr")

    def write(self, pa: int, data: bytes) -> None:
        """Physical memory. Code that this processor has run needs a `reset` to be seen."""
        self.memory[pa : pa + len(data)] = data

    def read(self, pa: int, size: int) -> bytes:
        """Physical memory."""
        return self.memory[pa : pa + size]

    # programs in root mode

    def root(self, text: str, **registers: int) -> Run:
        """Run assembly in 64-bit mode at ring 0, outside any guest, up to its end."""
        return self._go(self._place(text), registers)

    def flags(self, text: str, **registers: int) -> tuple[str, Run]:
        """What a VMX instruction did: "ok", "invalid", "valid" or "#vector(error code)"."""
        run = self.root(text, **registers)
        if run.exceptions:
            vector, code = run.exceptions[0]
            return f"#{vector}({code})", run
        set_flags = self.cpu.rflags & ARITHMETIC_FLAGS
        return {0: "ok", 1: "invalid", 0x40: "valid"}.get(set_flags, hex(set_flags)), run

    def rdmsr(self, index: int) -> int | None:
        """The MSR's value; None where reading it is #GP."""
        run = self.root("rdmsr", rcx=index)
        return None if run.exceptions else self.cpu.rdx << 32 | self.cpu.rax & 0xFFFF_FFFF

    def cpuid(self, leaf: int, subleaf: int = 0) -> tuple[int, int, int, int]:
        """EAX, EBX, ECX, EDX."""
        self.root("cpuid", rax=leaf, rcx=subleaf)
        cpu = self.cpu
        return cpu.rax, cpu.rbx, cpu.rcx, cpu.rdx

    @property
    def cpu(self) -> Any:
        """The processor's registers as they are."""
        return self.session.cpu.state

    # VMCS

    def vmwrite(self, fields: Mapping[int, int]) -> dict[int, str]:
        """VMWRITE each; the fields that were refused and how."""
        pairs = [word for item in fields.items() for word in item]
        struct.pack_into(f"<{len(pairs)}Q", self.memory, TABLE, *pairs)
        run = self.root(
            "again: mov rax, [rsi]; vmwrite rax, [rsi + 8]; pushfq; pop qword ptr [rsi];"
            "add rsi, 16; dec rcx; jnz again",
            rsi=TABLE,
            rcx=len(fields),
        )
        assert run.ended and not run.exceptions, run
        answers = struct.unpack_from(f"<{len(pairs)}Q", self.memory, TABLE)[::2]
        return {
            encoding: "invalid" if answer & 1 else "valid"
            for encoding, answer in zip(fields, answers, strict=True)
            if answer & ARITHMETIC_FLAGS
        }

    def vmread(self, encodings: Iterable[int]) -> dict[int, int]:
        """VMREAD each, without those that are refused."""
        wanted = list(encodings)
        cells = [word for encoding in wanted for word in (encoding, 0)]
        struct.pack_into(f"<{len(cells)}Q", self.memory, TABLE, *cells)
        run = self.root(
            "again: mov rax, [rsi]; vmread [rsi + 8], rax; pushfq; pop qword ptr [rsi];"
            "add rsi, 16; dec rcx; jnz again",
            rsi=TABLE,
            rcx=len(wanted),
        )
        assert run.ended and not run.exceptions, run
        cells = list(struct.unpack_from(f"<{len(cells)}Q", self.memory, TABLE))
        return {
            encoding: value
            for encoding, answer, value in zip(wanted, cells[::2], cells[1::2], strict=True)
            if not answer & ARITHMETIC_FLAGS
        }

    def in_root_operation(self) -> None:
        """Out of reset, VMXON, and a clear VMCS is current."""
        self.reset()
        revision = self.rdmsr(abi.IA32_VMX_BASIC)
        assert revision is not None, "this build of bochscpu has no VT-x"
        for region in (VMXON_REGION, VMCS_REGION):
            self.write(region, struct.pack("<I", revision & 0x7FFF_FFFF) + bytes(PAGE - 4))
        for step in (("vmxon", VMXON_REGION), ("vmclear", VMCS_REGION), ("vmptrld", VMCS_REGION)):
            answer = self.pointer(*step)
            assert answer == "ok", f"{step}: {answer}"

    def pointer(self, instruction: str, pa: int) -> str:
        """VMXON, VMCLEAR or VMPTRLD of `pa`, and how it ended."""
        struct.pack_into("<Q", self.memory, TABLE, pa)
        return self.flags(f"{instruction} qword ptr [rsi]", rsi=TABLE)[0]

    # running

    def enter(self, instruction: str, gpr: Mapping[str, int], limit: int = 20_000) -> Run:
        """VMLAUNCH or VMRESUME and whatever the guest does, up to its VM exit or HLT."""
        return self._go(self._place(instruction), gpr, limit, guest=True)

    def enter_only(self, instruction: str) -> Run:
        """VMLAUNCH or VMRESUME and nothing of the guest: up to its first instruction or event."""
        at = self._place(instruction)
        run = self._go(at, {}, 2, guest=True, may_end=True)
        run.passed = not run.exits and self.session.cpu.rip == at + 3
        return run

    def execute(self, state: Any, limit: int = 20_000) -> Run:
        """Run from `state` with no VT-x, up to HLT; exceptions are delivered."""
        return self._start(state, limit)

    def _place(self, text: str) -> int:
        if text not in self._programs:
            at = self._next_program
            code = assemble(text, at) + END
            self.write(at, code)
            self._programs[text] = at
            self._next_program += len(code) + 15 & -16
            assert self._next_program < STACK_TOP - PAGE, "too many programs"
        return self._programs[text]

    def _go(
        self,
        rip: int,
        registers: Mapping[str, int],
        limit: int = 2_000_000,
        guest: bool = False,
        may_end: bool = False,
    ) -> Run:
        state = root_state()
        state.rip = rip
        for name, value in registers.items():
            setattr(state, name, value)
        return self._start(state, limit, count=guest, may_end=may_end)

    def _start(
        self,
        state: Any,
        limit: int,
        *,
        count: bool = True,
        may_end: bool = False,
    ) -> Run:
        run, left = Run(), limit
        self.session.cpu.state = state
        hook = bochscpu.Hook()

        # To stop leaves the instruction: done while an event is delivered or the processor exits,
        # that would begin again for ever.

        def halt(session: Any, _cpu: int) -> None:
            run.halted = True
            session.stop()

        def invd(session: Any, _cpu: int, what: int) -> None:
            if what == _INVD:
                run.ended = True
                session.stop()

        def exception(_session: Any, _cpu: int, vector: int, code: int) -> None:
            run.exceptions.append((vector, code))

        def vmexit(_session: Any, _cpu: int, reason: int, qualification: int) -> None:
            run.exits.append((reason, qualification))

        def step(session: Any, _cpu: int, _instruction: int) -> None:
            nonlocal left
            left -= 1
            if left <= 0:
                session.stop()

        hook.hlt, hook.exception, hook.vmexit = halt, exception, vmexit
        hook.cache_cntrl = invd
        if count:
            hook.before_execution = step
        self.session.run([hook])
        if left <= 0 and not may_end:
            raise BochsStuckError(f"{limit} instructions and no end, {run}")
        return run


def segment(selector: int, attributes: int, limit: int = 0xFFFF_FFFF, base: int = 0) -> Any:
    """A segment register; `attributes` as in the access-rights field of a VMCS."""
    made = bochscpu.Segment()
    made.present = bool(attributes & 0x80)
    made.selector, made.base, made.limit, made.attr = selector, base, limit, attributes
    return made


def table(base: int, limit: int) -> Any:
    """GDTR or IDTR."""
    made = bochscpu.GlobalSegment()
    made.base, made.limit = base, limit
    return made


def root_state() -> Any:
    """Ring 0 in 64-bit mode, the first 4 GB mapped to themselves."""
    state = bochscpu.State()
    state.cr0, state.cr3, state.cr4, state.efer = CR0, _PML4, CR4, EFER
    state.rsp, state.rflags = STACK_TOP, 2
    state.cs = segment(CODE, 0xA09B)
    for name in ("ss", "ds", "es", "fs", "gs"):
        setattr(state, name, segment(DATA, 0xC093))
    state.tr = segment(TASK, 0x8B, 0x67, HOST_TSS)
    state.ldtr = segment(0, 0)
    state.gdtr, state.idtr = table(HOST_GDT, 0xFFF), table(HOST_IDT, 0xFFF)
    state.dr6, state.dr7 = 0xFFFF_0FF0, 0x400
    state.mxcsr, state.mxcsr_mask, state.xcr0 = 0x1F80, 0xFFFF, 1
    state.fpcw, state.fptw = 0x37F, 0xFFFF
    state.pat, state.apic_base = PAT_AT_RESET, 0xFEE0_0900
    return state
