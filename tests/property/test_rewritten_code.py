"""Code that is written again and again, in every way there is, and run in between: what runs is
always what was written last, as on x86, where code is never stale.

A cell is a routine of six bytes, `mov eax, N; ret`. The model is the N of each. `Bench` is used in
the DriverEntry of a driver in Python.
"""

from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ntsim.devices import Bus
from ntsim.hw.engine import hostcode
from ntsim.machine import Machine
from ntsim.wdm import *

HELLO = Path(__file__).parents[2] / "driver/c/hello.sys"
TAG, PAGE = 0x65646F43, 0x1000

STORE = bytes.fromhex("488b02 8b4a08 8908 c3")
"""mov rax, [rdx]; mov ecx, [rdx + 8]; mov [rax], ecx; ret: a DPC's context is in RDX"""
REACH = bytes.fromhex("53 4883ec20 4889d3 ff12 894308 4883c420 5b c3")
"""push rbx; sub rsp, 32; mov rbx, rdx; call [rdx]; mov [rbx + 8], eax; add rsp, 32; pop rbx; ret"""
REWRITE = bytes.fromhex("890d01000000 b800000000 c3")
"""mov [rip + 1], ecx; mov eax, N; ret: N is what was stored in the same block"""
KINDS = ("block", "page", "two pages", "contiguous", "image", "kernel")


def cell(value: int) -> bytes:
    return b"\xb8" + value.to_bytes(4, "little") + b"\xc3"


def through_mapping(at: int, size: int, write: Callable[[int], object]) -> None:
    """Let `write` have the second address of `size` bytes."""
    mdl = IoAllocateMdl(at, size, FALSE, FALSE, NULL)
    MmBuildMdlForNonPagedPool(mdl)
    mdl.MdlFlags = mdl.MdlFlags & ~MDL_SOURCE_IS_NONPAGED_POOL | MDL_PAGES_LOCKED
    there = MmMapLockedPagesSpecifyCache(mdl, KernelMode, MmCached, NULL, FALSE, 16)
    write(there)
    MmUnmapLockedPages(there, mdl)
    IoFreeMdl(mdl)


class Bench:
    def __init__(self, machine: Machine, image: int) -> None:
        self.machine = machine
        self.bus = Bus(machine.nt, None)  # type: ignore[arg-type]
        self.context, self.source = self.pool(32), self.pool(32)
        self.dpc = KDPC()
        self.store, self.reach = self.placed(STORE), self.placed(REACH)
        self.itself = self.placed(REWRITE)
        name = UNICODE_STRING("RtlUlongByteSwap")
        self.cells = {
            "block": self.pool(64),
            "page": self.pool(PAGE),
            "two pages": self.pool(3 * PAGE) + PAGE - 3,
            "contiguous": MmAllocateContiguousMemory(PAGE, -1),
            "image": image,
            "kernel": int(MmGetSystemRoutineAddress(name)),
        }
        self.values: dict[str, int] = {}
        for number, (kind, at) in enumerate(self.cells.items()):
            self.mapping(at, cell(number))
            self.values[kind] = number

    @staticmethod
    def pool(size: int) -> int:
        return int(ExAllocatePoolWithTag(NonPagedPool, size, TAG))

    def placed(self, code: bytes) -> int:
        made = self.pool(len(code))
        write_bytes(made, code)
        return made

    def as_dpc(self, processor: int, routine: int, first: int, second: int) -> int:
        """Run machine code on a processor; the second word of its context afterwards."""
        write_bytes(self.context, first.to_bytes(8, "little") + second.to_bytes(8, "little"))
        KeInitializeDpc(self.dpc, routine, self.context)
        KeSetTargetProcessorDpc(self.dpc, processor)
        KeInsertQueueDpc(self.dpc, NULL, NULL)
        KeFlushQueuedDpcs()
        return int.from_bytes(read_bytes(self.context + 8, 4), "little")

    def write(self, kind: str, writer: str, value: int) -> None:
        at = self.cells[kind] + 1
        if kind in ("image", "kernel") and writer in ("python", "routine", "code"):
            writer = "mapping"  # read-only where it is
        WRITERS[writer](self, at, value.to_bytes(4, "little"))
        self.values[kind] = value

    def python(self, at: int, data: bytes) -> None:
        write_bytes(at, data)

    def routine(self, at: int, data: bytes) -> None:
        write_bytes(self.source, data)
        RtlCopyMemory(at, self.source, len(data))

    def code(self, at: int, data: bytes) -> None:
        value = int.from_bytes(data, "little")
        self.as_dpc(value % 2, self.store, at, value)

    def mapping(self, at: int, data: bytes) -> None:
        through_mapping(at, len(data), lambda there: self.routine(there, data))

    def code_in_mapping(self, at: int, data: bytes) -> None:
        through_mapping(at, len(data), lambda there: self.code(there, data))

    def physical(self, at: int, data: bytes) -> None:
        for number, byte in enumerate(data):
            there = MmMapIoSpace(MmGetPhysicalAddress(at + number), 1, MmCached)
            RtlFillMemory(there, 1, byte)
            MmUnmapIoSpace(there, 1)

    def device(self, at: int, data: bytes) -> None:
        for number, byte in enumerate(data):
            address = self.machine.nt.quad_part(MmGetPhysicalAddress(at + number))
            self.bus.dma_write(address, bytes([byte]))

    def run(self, kind: str, runner: str) -> None:
        at = self.cells[kind]
        assert RUNNERS[runner](self, at) & 0xFFFF_FFFF == self.values[kind], (kind, runner)

    def ipi(self, at: int) -> int:
        return int(KeIpiGenericCall(at, 0))

    def thread(self, at: int) -> int:
        found: list[int] = []
        _, handle = PsCreateSystemThread(
            0, NULL, NULL, NULL, lambda _: found.append(self.ipi(at)), NULL
        )
        _, thread = ObReferenceObjectByHandle(handle, 0, NULL, KernelMode, NULL)
        KeWaitForSingleObject(thread, Executive, KernelMode, FALSE, NULL)
        ObDereferenceObject(thread)
        ZwClose(handle)
        return found[0]

    def rewrite_itself(self, value: int) -> None:
        assert self.ipi_with(self.itself, value) == value

    @staticmethod
    def ipi_with(at: int, value: int) -> int:
        return int(KeIpiGenericCall(at, value)) & 0xFFFF_FFFF

    def reuse(self, kind: str, value: int) -> None:
        """Free a cell's pool and have other code there, or elsewhere."""
        if kind not in ("block", "page"):
            return
        ExFreePoolWithTag(self.cells[kind], TAG)
        self.cells[kind] = self.pool(64 if kind == "block" else PAGE)
        write_bytes(self.cells[kind], cell(value))
        self.values[kind] = value


WRITERS: dict[str, Callable[[Bench, int, bytes], None]] = {
    "python": Bench.python,
    "routine": Bench.routine,
    "code": Bench.code,
    "mapping": Bench.mapping,
    "code in mapping": Bench.code_in_mapping,
    "physical": Bench.physical,
    "device": Bench.device,
}
RUNNERS: dict[str, Callable[[Bench, int], int]] = {
    "ipi": Bench.ipi,
    "dpc": lambda bench, at: bench.as_dpc(0, bench.reach, at, 0),
    "other processor": lambda bench, at: bench.as_dpc(1, bench.reach, at, 0),
    "thread": Bench.thread,
}

VALUES = st.integers(0, 0xFFFF_FFFF)
STEPS = st.one_of(
    st.tuples(st.just("write"), st.sampled_from(KINDS), st.sampled_from(list(WRITERS)), VALUES),
    st.tuples(st.just("run"), st.sampled_from(KINDS), st.sampled_from(list(RUNNERS))),
    st.tuples(st.just("rewrite_itself"), VALUES),
    st.tuples(st.just("reuse"), st.sampled_from(KINDS), VALUES),
)


@pytest.mark.parametrize("mode", [nullcontext, hostcode.forbidden])
@given(st.lists(STEPS, min_size=10, max_size=40))
@settings(max_examples=25, deadline=None)
def test_what_runs_is_what_was_written_last(mode: Any, steps: list[tuple[Any, ...]]) -> None:
    def entry(DriverObject: Any, RegistryPath: Any) -> int:
        bench = Bench(machine, image)
        for name, *arguments in steps:
            getattr(bench, name)(*arguments)
        for kind in KINDS:
            bench.run(kind, "ipi")
        return STATUS_SUCCESS

    with mode(), Machine(processors=2, record=False) as machine:
        hello = machine.load_driver(HELLO)
        image = next(s.address for s in hello.image.symbols if s.name != "DriverEntry")
        machine.load_driver(entry, name="code.sys")
