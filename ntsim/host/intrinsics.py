"""Compiler intrinsics: MSVC's names and results, on the running processor.

Privileged ones fault as the instruction does: #GP and #UD become exceptions of the driver
(STATUS_PRIVILEGED_INSTRUCTION, STATUS_ILLEGAL_INSTRUCTION), and so they do in user mode.
"""

from __future__ import annotations

from collections.abc import Callable
from operator import index
from typing import Any

from greenlet import getcurrent

from ntsim.abi import memory
from ntsim.abi.ntstatus import STATUS_ASSERTION_FAILURE
from ntsim.host.current import current_kernel
from ntsim.hw.cpu import RFLAGS_IF, Processor
from ntsim.hw.exceptions import general_protection
from ntsim.nt.events import SystemRegisterLoaded
from ntsim.nt.kd.breakpoint import DbgBreakPoint
from ntsim.nt.kernel import Kernel
from ntsim.nt.ki.fault import ki_raise
from ntsim.nt.ki.integrity import MSRS

INTRINSICS: dict[str, Callable[..., Any]] = {}


def intrinsic(function: Callable[..., Any]) -> Callable[..., Any]:
    """Register under the function's own name."""
    INTRINSICS[function.__name__] = function
    return function


def stepped_kernel(name: str) -> Kernel:
    """The machine, after one step of work."""
    nt = current_kernel(name)
    nt.il.step()
    return nt


def ring_0(name: str) -> Processor:
    """The processor for a ring-0 instruction, after a step; #GP(0) from user mode."""
    try:
        nt: Kernel = getcurrent().machine
    except AttributeError:
        nt = current_kernel(name)
    il = nt.il
    processor = il.current
    processor.budget -= 1
    if processor.budget < 0:
        il.give_way()
        processor = il.current
    if processor.context.user is not None and nt.in_user_mode():
        nt.ki.processor_operation(_refuse, name)
    return processor


def privileged(name: str) -> tuple[Kernel, Processor]:
    """The same, and the machine."""
    processor = ring_0(name)
    return current_kernel(name), processor


def _refuse(name: str) -> None:
    raise general_protection(f"{name} at CPL 3")


# Processor identification and time


@intrinsic
def __cpuid(leaf: int, subleaf: int = 0) -> tuple[int, int, int, int]:
    """CPUID: (eax, ebx, ecx, edx)."""
    return stepped_kernel("__cpuid").il.current.cpuid(index(leaf), index(subleaf))


@intrinsic
def __cpuidex(leaf: int, subleaf: int) -> tuple[int, int, int, int]:
    """CPUID with a subleaf."""
    return stepped_kernel("__cpuidex").il.current.cpuid(index(leaf), index(subleaf))


@intrinsic
def __rdtsc() -> int:
    """RDTSC: the invariant time-stamp counter."""
    nt = stepped_kernel("__rdtsc")
    return nt.il.current.rdtsc(nt.clock.tsc_at(nt.il.now))


@intrinsic
def __rdtscp() -> tuple[int, int]:
    """RDTSCP: (counter, IA32_TSC_AUX). #UD in a guest that is not allowed it."""
    nt = stepped_kernel("__rdtscp")
    processor = nt.il.current
    counter = nt.clock.tsc_at(nt.il.now)
    found: tuple[int, int] = nt.ki.processor_operation(processor.rdtscp, counter)
    return found


@intrinsic
def _mm_pause() -> None:
    """PAUSE: let other processors run."""
    il = current_kernel("_mm_pause").il
    if il.current.pause():
        il.spin()


INTRINSICS["YieldProcessor"] = _mm_pause


@intrinsic
def __halt() -> None:
    """HLT: wait for an interrupt."""
    nt, _ = privileged("__halt")
    nt.il.rest()


@intrinsic
def __nop() -> None:
    """NOP."""
    stepped_kernel("__nop")


# MSRs and control registers


@intrinsic
def __readmsr(register: int) -> int:
    """RDMSR."""
    nt, processor = privileged("__readmsr")
    return int(nt.ki.processor_operation(processor.rdmsr, index(register)))


@intrinsic
def __writemsr(register: int, value: int) -> None:
    """WRMSR."""
    nt, processor = privileged("__writemsr")
    number, content = index(register), index(value) & memory.MASK64
    nt.ki.processor_operation(processor.wrmsr, number, content)
    if number in MSRS:
        nt.emit_at(SystemRegisterLoaded, MSRS[number], content)
        nt.touched()


def _read_cr(number: int) -> Callable[[], int]:
    def read() -> int:
        nt, processor = privileged(f"__readcr{number}")
        return int(nt.ki.processor_operation(processor.mov_from_cr, number))

    read.__name__ = read.__qualname__ = f"__readcr{number}"
    read.__doc__ = f"MOV r64, CR{number}."
    return read


def _write_cr(number: int) -> Callable[[int], None]:
    def write(value: int) -> None:
        nt, _ = privileged(f"__writecr{number}")
        nt.write_control_register(number, int(value) & memory.MASK64)

    write.__name__ = write.__qualname__ = f"__writecr{number}"
    write.__doc__ = f"MOV CR{number}, r64."
    return write


for _number in (0, 2, 3, 4, 8):
    intrinsic(_read_cr(_number))
    if _number != 2:
        intrinsic(_write_cr(_number))


@intrinsic
def __readdr(number: int) -> int:
    """MOV r64, DRn."""
    nt, processor = privileged("__readdr")
    return int(nt.ki.processor_operation(processor.mov_from_dr, index(number)))


@intrinsic
def __writedr(number: int, value: int) -> None:
    """MOV DRn, r64."""
    nt, processor = privileged("__writedr")
    nt.ki.processor_operation(processor.mov_to_dr, index(number), index(value) & memory.MASK64)


@intrinsic
def __readpmc(counter: int) -> int:
    """RDPMC: #GP, because no processor model has performance counters; a hypervisor may answer."""
    nt, processor = privileged("__readpmc")
    return int(nt.ki.processor_operation(processor.rdpmc, index(counter)))


@intrinsic
def _mm_monitor(p: Any, extensions: int, hints: int) -> None:
    """MONITOR: nobody watches the range."""
    privileged("_mm_monitor")[1].monitor(int(p))


@intrinsic
def _mm_mwait(extensions: int, hints: int) -> None:
    """MWAIT: it does not wait, as it need not."""
    privileged("_mm_mwait")[1].mwait()


@intrinsic
def __readeflags() -> int:
    """PUSHFQ."""
    return stepped_kernel("__readeflags").il.current.rflags


@intrinsic
def __invlpg(address: int) -> None:
    """INVLPG."""
    nt, processor = privileged("__invlpg")
    if processor.invlpg(int(address)):
        nt.mmu.notice(int(address))


@intrinsic
def _invpcid(kind: int, descriptor: Any) -> None:
    """INVPCID; `descriptor` is the address of 16 bytes: the PCID, and a linear address."""
    nt, processor = privileged("_invpcid")
    data, place = nt.mmu.read(int(descriptor), 16), int(descriptor)
    low, address = (int.from_bytes(data[i : i + 8], "little") for i in (0, 8))
    if nt.ki.processor_operation(processor.invpcid, index(kind), low, address, place):
        nt.mmu.flush(nt.mmu.root())


@intrinsic
def __wbinvd() -> None:
    """WBINVD: caches are not modelled, so there is nothing to write back."""
    privileged("__wbinvd")[1].wbinvd()


# Interrupts


@intrinsic
def _disable() -> None:
    """CLI."""
    nt, processor = privileged("_disable")
    if processor.rflags & RFLAGS_IF:
        nt.interrupts_off(processor, "CLI")


@intrinsic
def _enable() -> None:
    """STI: pending interrupts are taken."""
    nt, processor = privileged("_enable")
    if not processor.rflags & RFLAGS_IF:
        nt.interrupts_back_on(processor, "STI")


@intrinsic
def __debugbreak() -> None:
    """INT 3: STATUS_BREAKPOINT where no debugger takes it."""
    DbgBreakPoint(stepped_kernel("__debugbreak"))


@intrinsic
def __int2c() -> None:
    """INT 2Ch: STATUS_ASSERTION_FAILURE, which is what DbgRaiseAssertionFailure is."""
    nt = stepped_kernel("__int2c")
    ki_raise(nt, STATUS_ASSERTION_FAILURE, (), "INT 2Ch: an assertion failed")


# Descriptor tables and segments


def _store_table(name: str, destination: Any, register: str) -> None:
    nt = stepped_kernel(name)
    processor = nt.il.current
    if not processor.descriptor_table(name.strip("_")):
        return
    table = getattr(processor, register)
    data = int(table.limit & 0xFFFF).to_bytes(2, "little") + int(table.base).to_bytes(8, "little")
    nt.mmu.write(int(destination), data)


@intrinsic
def _sgdt(destination: Any) -> None:
    """SGDT: two bytes limit, eight bytes base."""
    _store_table("_sgdt", destination, "gdtr")


@intrinsic
def __sidt(destination: Any) -> None:
    """SIDT: two bytes limit, eight bytes base."""
    _store_table("__sidt", destination, "idtr")


def _load_table(name: str, source: Any, register: str) -> None:
    nt, processor = privileged(name)
    data = nt.mmu.read(int(source), 10)
    if not processor.descriptor_table(name.strip("_")):
        return
    table = getattr(processor, register)
    table.limit = int.from_bytes(data[:2], "little")
    table.base = int.from_bytes(data[2:], "little")
    nt.emit_at(SystemRegisterLoaded, register.upper(), table.base)


@intrinsic
def _lgdt(source: Any) -> None:
    """LGDT."""
    _load_table("_lgdt", source, "gdtr")


@intrinsic
def __lidt(source: Any) -> None:
    """LIDT."""
    _load_table("__lidt", source, "idtr")


@intrinsic
def _str() -> int:
    """STR: the task register's selector."""
    return _selector("_str", "tr")


@intrinsic
def _sldt() -> int:
    """SLDT."""
    return _selector("_sldt", "ldtr")


def _selector(name: str, register: str) -> int:
    """STR or SLDT; where the hypervisor has emulated it, RAX holds the selector."""
    processor = stepped_kernel(name).il.current
    if processor.descriptor_table(name.strip("_")):
        return int(getattr(processor, register).selector)
    return int(processor.vmx.gpr[0]) & 0xFFFF


def _read_selector(name: str) -> Callable[[], int]:
    def read() -> int:
        return int(getattr(stepped_kernel(f"__read{name}").il.current, name).selector)

    read.__name__ = read.__qualname__ = f"__read{name}"
    read.__doc__ = f"MOV r16, {name.upper()}: the selector."
    return read


for _name in ("cs", "ss", "ds", "es", "fs", "gs"):
    intrinsic(_read_selector(_name))


@intrinsic
def __segmentlimit(selector: int) -> int:
    """LSL: the limit in bytes of a descriptor in the GDT."""
    nt = stepped_kernel("__segmentlimit")
    entry = nt.read_pointer(nt.il.current.gdtr.base + (selector & ~7))
    limit = entry & 0xFFFF | entry >> 32 & 0xF0000
    return limit << 12 | 0xFFF if entry >> 55 & 1 else limit
