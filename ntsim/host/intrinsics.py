"""Compiler intrinsics: MSVC's names and results, on the running processor.

Privileged ones fault as the instruction does: #GP and #UD become exceptions of the driver
(STATUS_PRIVILEGED_INSTRUCTION, STATUS_ILLEGAL_INSTRUCTION), and so they do in user mode.
"""

from __future__ import annotations

from collections.abc import Callable
from operator import index
from typing import Any

from greenlet import getcurrent

from ntsim.abi import memory, types
from ntsim.abi.ntstatus import STATUS_ASSERTION_FAILURE
from ntsim.host import stacks, system_guest
from ntsim.host.current import caller_error, current_kernel
from ntsim.hw.cpu import RFLAGS_IF, Processor
from ntsim.hw.exceptions import general_protection
from ntsim.hw.vmx.results import VmSucceed, WouldExit, intrinsic_status, result_of_flags
from ntsim.nt.events import InterruptsDisabled, SystemRegisterLoaded
from ntsim.nt.kd.breakpoint import DbgBreakPoint
from ntsim.nt.kernel import Kernel
from ntsim.nt.ki.fault import ki_raise
from ntsim.nt.ki.integrity import MSRS

INTRINSICS: dict[str, Callable[..., Any]] = {}


def intrinsic(function: Callable[..., Any]) -> Callable[..., Any]:
    """Register under the function's own name."""
    INTRINSICS[function.__name__] = function
    return function


def _kernel(name: str) -> Kernel:
    """The machine, after one step of work."""
    nt = current_kernel(name)
    nt.il.step()
    return nt


def _ring_0(name: str) -> Processor:
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


def _privileged(name: str) -> tuple[Kernel, Processor]:
    """The same, and the machine."""
    processor = _ring_0(name)
    return current_kernel(name), processor


def _refuse(name: str) -> None:
    raise general_protection(f"{name} at CPL 3")


# Processor identification and time


@intrinsic
def __cpuid(leaf: int, subleaf: int = 0) -> tuple[int, int, int, int]:
    """CPUID: (eax, ebx, ecx, edx)."""
    return _kernel("__cpuid").il.current.cpuid(index(leaf), index(subleaf))


@intrinsic
def __cpuidex(leaf: int, subleaf: int) -> tuple[int, int, int, int]:
    """CPUID with a subleaf."""
    return _kernel("__cpuidex").il.current.cpuid(index(leaf), index(subleaf))


@intrinsic
def __rdtsc() -> int:
    """RDTSC: the invariant time-stamp counter."""
    nt = _kernel("__rdtsc")
    return nt.il.current.rdtsc(nt.clock.tsc_at(nt.il.now))


@intrinsic
def __rdtscp() -> tuple[int, int]:
    """RDTSCP: (counter, IA32_TSC_AUX). #UD in a guest that is not allowed it."""
    nt = _kernel("__rdtscp")
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
    nt, _ = _privileged("__halt")
    nt.il.rest()


@intrinsic
def __nop() -> None:
    """NOP."""
    _kernel("__nop")


# MSRs and control registers


@intrinsic
def __readmsr(register: int) -> int:
    """RDMSR."""
    nt, processor = _privileged("__readmsr")
    return int(nt.ki.processor_operation(processor.rdmsr, index(register)))


@intrinsic
def __writemsr(register: int, value: int) -> None:
    """WRMSR."""
    nt, processor = _privileged("__writemsr")
    number, content = index(register), index(value) & memory.MASK64
    nt.ki.processor_operation(processor.wrmsr, number, content)
    if number in MSRS:
        nt.emit_at(SystemRegisterLoaded, MSRS[number], content)


def _read_cr(number: int) -> Callable[[], int]:
    def read() -> int:
        nt, processor = _privileged(f"__readcr{number}")
        return int(nt.ki.processor_operation(processor.mov_from_cr, number))

    read.__name__ = read.__qualname__ = f"__readcr{number}"
    read.__doc__ = f"MOV r64, CR{number}."
    return read


def _write_cr(number: int) -> Callable[[int], None]:
    def write(value: int) -> None:
        nt, _ = _privileged(f"__writecr{number}")
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
    nt, processor = _privileged("__readdr")
    return int(nt.ki.processor_operation(processor.mov_from_dr, index(number)))


@intrinsic
def __writedr(number: int, value: int) -> None:
    """MOV DRn, r64."""
    nt, processor = _privileged("__writedr")
    nt.ki.processor_operation(processor.mov_to_dr, index(number), index(value) & memory.MASK64)


@intrinsic
def __readpmc(counter: int) -> int:
    """RDPMC: #GP, because no processor model has performance counters; a hypervisor may answer."""
    nt, processor = _privileged("__readpmc")
    return int(nt.ki.processor_operation(processor.rdpmc, index(counter)))


@intrinsic
def _mm_monitor(p: Any, extensions: int, hints: int) -> None:
    """MONITOR: nobody watches the range."""
    _privileged("_mm_monitor")[1].monitor(int(p))


@intrinsic
def _mm_mwait(extensions: int, hints: int) -> None:
    """MWAIT: it does not wait, as it need not."""
    _privileged("_mm_mwait")[1].mwait()


@intrinsic
def __readeflags() -> int:
    """PUSHFQ."""
    return _kernel("__readeflags").il.current.rflags


@intrinsic
def __invlpg(address: int) -> None:
    """INVLPG."""
    nt, processor = _privileged("__invlpg")
    if processor.invlpg(int(address)):
        nt.mmu.invalidate(int(address))


@intrinsic
def _invpcid(kind: int, descriptor: Any) -> None:
    """INVPCID; `descriptor` is the address of 16 bytes: the PCID, and a linear address."""
    nt, processor = _privileged("_invpcid")
    data, place = nt.mmu.read(int(descriptor), 16), int(descriptor)
    low, address = (int.from_bytes(data[i : i + 8], "little") for i in (0, 8))
    if nt.ki.processor_operation(processor.invpcid, index(kind), low, address, place):
        nt.mmu.flush(nt.mmu.root())


@intrinsic
def __wbinvd() -> None:
    """WBINVD: caches are not modelled, so there is nothing to write back."""
    _privileged("__wbinvd")[1].wbinvd()


# Interrupts


@intrinsic
def _disable() -> None:
    """CLI."""
    nt, processor = _privileged("_disable")
    if processor.rflags & RFLAGS_IF:
        nt.emit_at(InterruptsDisabled, "CLI")
        nt.disable_interrupts(processor, "CLI")


@intrinsic
def _enable() -> None:
    """STI: pending interrupts are taken."""
    nt, processor = _privileged("_enable")
    if not processor.rflags & RFLAGS_IF:
        nt.interrupts_back_on(processor, "STI")


@intrinsic
def __debugbreak() -> None:
    """INT 3: STATUS_BREAKPOINT where no debugger takes it."""
    DbgBreakPoint(_kernel("__debugbreak"))


@intrinsic
def __int2c() -> None:
    """INT 2Ch: STATUS_ASSERTION_FAILURE, which is what DbgRaiseAssertionFailure is."""
    ki_raise(_kernel("__int2c"), STATUS_ASSERTION_FAILURE, (), "INT 2Ch: an assertion failed")


# Descriptor tables and segments


def _store_table(name: str, destination: Any, register: str) -> None:
    nt = _kernel(name)
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
    nt, processor = _privileged(name)
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
    processor = _kernel(name).il.current
    if processor.descriptor_table(name.strip("_")):
        return int(getattr(processor, register).selector)
    return int(processor.vmx.gpr[0]) & 0xFFFF


def _read_selector(name: str) -> Callable[[], int]:
    def read() -> int:
        return int(getattr(_kernel(f"__read{name}").il.current, name).selector)

    read.__name__ = read.__qualname__ = f"__read{name}"
    read.__doc__ = f"MOV r16, {name.upper()}: the selector."
    return read


for _name in ("cs", "ss", "ds", "es", "fs", "gs"):
    intrinsic(_read_selector(_name))


@intrinsic
def __segmentlimit(selector: int) -> int:
    """LSL: the limit in bytes of a descriptor in the GDT."""
    nt = _kernel("__segmentlimit")
    entry = nt.read_pointer(nt.il.current.gdtr.base + (selector & ~7))
    limit = entry & 0xFFFF | entry >> 32 & 0xF0000
    return limit << 12 | 0xFFF if entry >> 55 & 1 else limit


# Ports


def _port_in(name: str, size: int) -> Callable[[int], int]:
    def read(port: int) -> int:
        _, processor = _privileged(name)
        return processor.port_in(index(port), size)

    read.__name__ = read.__qualname__ = name
    read.__doc__ = f"IN of {size} byte(s)."
    return read


def _port_out(name: str, size: int) -> Callable[[int, int], None]:
    def write(port: int, value: int) -> None:
        _, processor = _privileged(name)
        processor.port_out(index(port), size, index(value))

    write.__name__ = write.__qualname__ = name
    write.__doc__ = f"OUT of {size} byte(s)."
    return write


for _suffix, _size in (("byte", 1), ("word", 2), ("dword", 4)):
    intrinsic(_port_in(f"__in{_suffix}", _size))
    intrinsic(_port_out(f"__out{_suffix}", _size))


# VT-x


def _pointer_operand(nt: Kernel, value: Any) -> int:
    """The 64-bit physical address: by value, or from the variable a typed pointer names."""
    if isinstance(value, types.Pointer) and value >> 47 == 0x1FFFF:
        return nt.read_pointer(int(value))
    return int(value) & memory.MASK64


def _vmx(name: str, operation: str, *arguments: int) -> Any:
    nt, processor = _privileged(name)
    return _operate(nt, processor, operation, *arguments)


def _operate(nt: Kernel, processor: Processor, operation: str, *arguments: int) -> Any:
    """A VMX instruction: its result, or in a guest what the hypervisor makes of it."""
    method = getattr(processor.vmx, operation)
    while isinstance(result := nt.ki.processor_operation(method, *arguments), WouldExit):
        if nt.ki.processor_operation(system_guest.would_exit, processor, result):
            return result_of_flags(processor.rflags)
    return result


@intrinsic
def __vmx_on(region: Any) -> int:
    """VMXON: 0, 1 (VMfailValid) or 2 (VMfailInvalid). `region` is a physical address."""
    return intrinsic_status(
        _vmx("__vmx_on", "vmxon", _pointer_operand(current_kernel("__vmx_on"), region))
    )


@intrinsic
def __vmx_off() -> None:
    """VMXOFF."""
    _vmx("__vmx_off", "vmxoff")


@intrinsic
def __vmx_vmclear(region: Any) -> int:
    """VMCLEAR of the VMCS at a physical address: 0, 1 or 2."""
    nt = current_kernel("__vmx_vmclear")
    return intrinsic_status(_vmx("__vmx_vmclear", "vmclear", _pointer_operand(nt, region)))


@intrinsic
def __vmx_vmptrld(region: Any) -> int:
    """VMPTRLD of the VMCS at a physical address: 0, 1 or 2."""
    nt = current_kernel("__vmx_vmptrld")
    return intrinsic_status(_vmx("__vmx_vmptrld", "vmptrld", _pointer_operand(nt, region)))


@intrinsic
def __vmx_vmptrst(destination: Any) -> int:
    """VMPTRST: stores the current-VMCS pointer, all ones if there is none. It cannot fail: 0."""
    nt = current_kernel("__vmx_vmptrst")
    result = _vmx("__vmx_vmptrst", "vmptrst")
    nt.write_pointer(int(destination), result.value)
    return intrinsic_status(result)


@intrinsic
def __vmx_vmread(field: int) -> tuple[int, int]:
    """VMREAD: (status, value); the value is 0 if it failed."""
    processor = _ring_0("__vmx_vmread")
    value: int | None = processor.vmx.vmread_in_root(field)
    if value is not None:
        return 0, value
    result = _operate(current_kernel(), processor, "vmread", int(field))
    if isinstance(result, VmSucceed):
        return 0, result.value
    return intrinsic_status(result), 0


@intrinsic
def __vmx_vmwrite(field: int, value: Any) -> int:
    """VMWRITE: 0, 1 or 2. A routine is accepted for its address (HOST_RIP)."""
    number = value if type(value) is int else _address(value)
    processor = _ring_0("__vmx_vmwrite")
    if processor.vmx.vmwrite_in_root(field, number):
        return 0
    nt, number = current_kernel(), number & memory.MASK64
    return intrinsic_status(_operate(nt, processor, "vmwrite", int(field), number))


def _address(value: Any) -> int:
    """What VMWRITE stores for something that is no plain integer."""
    nt = current_kernel("__vmx_vmwrite")
    try:
        return types.address_value(nt.mmu, value)
    except TypeError as error:
        raise caller_error(f"__vmx_vmwrite: {error}") from None


@intrinsic
def __vmx_vmlaunch() -> int:
    """VMLAUNCH: does not return if it succeeds; 1 or 2 if it fails."""
    nt, _ = _privileged("__vmx_vmlaunch")
    return intrinsic_status(stacks.enter_from_intrinsic(nt, "VMLAUNCH"))


@intrinsic
def __vmx_vmresume() -> int:
    """VMRESUME: does not return if it succeeds; 1 or 2 if it fails."""
    nt, _ = _privileged("__vmx_vmresume")
    return intrinsic_status(stacks.enter_from_intrinsic(nt, "VMRESUME"))


@intrinsic
def __vmx_vmcall(rcx: int = 0, rdx: int = 0, r8: int = 0, r9: int = 0) -> int:
    """VMCALL with its arguments in the registers of a C call: RAX as the hypervisor leaves it.

    Outside a guest nobody is called: #UD outside VMX operation, else VMfail (1 or 2).
    """
    nt, processor = _privileged("__vmx_vmcall")
    gpr = processor.vmx.gpr
    while isinstance(result := nt.ki.processor_operation(processor.vmx.vmcall), WouldExit):
        for register, value in ((1, rcx), (2, rdx), (8, r8), (9, r9)):
            gpr[register] = int(value) & memory.MASK64
        if nt.ki.processor_operation(system_guest.would_exit, processor, result):
            return int(gpr[0])
    return intrinsic_status(result)


# Stacks


@intrinsic
def save_stack(slot: Any, function: Callable[[], Any]) -> Any:
    """Run `function` below a saved stack: its value, or what restore_stack gives. One shot.

    `slot` is the address of eight bytes that receive the stack pointer.
    """
    nt, _ = _privileged("save_stack")
    if not isinstance(slot, int):
        raise caller_error(f"save_stack: slot is the address of a PVOID variable, not {slot!r}")
    if not callable(function):
        raise caller_error(f"save_stack: {function!r} cannot be called")
    return stacks.save_stack(nt, int(slot), function)


@intrinsic
def restore_stack(slot: Any, value: Any) -> None:
    """Return `value` from the save_stack of `slot`; the frames in between are abandoned."""
    nt, _ = _privileged("restore_stack")
    stacks.restore_stack(nt, int(slot), value)


@intrinsic
def continue_at(rip: int, rsp: int) -> None:
    """Load RSP, jump to RIP: how an exit handler that has executed VMXOFF goes back to what was its
    guest, whose general registers are loaded first. Does not return."""
    nt, processor = _privileged("continue_at")
    system_guest.continue_at(nt, processor, int(rip), int(rsp))
