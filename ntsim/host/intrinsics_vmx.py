"""Compiler intrinsics of VT-x, and what a driver in Python has for assembly: stacks, jumping.

Results are MSVC's: 0 for success, 1 for VMfailValid, 2 for VMfailInvalid. Source: Microsoft C/C++,
"x64 intrinsics"; SDM 3, "VMX Instruction Reference".
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ntsim.abi import memory, types
from ntsim.host import stacks, system_guest
from ntsim.host.current import caller_error, current_kernel
from ntsim.host.intrinsics import intrinsic, privileged, ring_0
from ntsim.hw.cpu import Processor
from ntsim.hw.vmx.results import VmSucceed, WouldExit, intrinsic_status, result_of_flags
from ntsim.nt.kernel import Kernel


def _pointer_operand(nt: Kernel, value: Any) -> int:
    """The 64-bit physical address: by value, or from the variable a typed pointer names."""
    if isinstance(value, types.Pointer) and value >> 47 == 0x1FFFF:
        return nt.read_pointer(int(value))
    return int(value) & memory.MASK64


def _vmx(name: str, operation: str, *arguments: int) -> Any:
    nt, processor = privileged(name)
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
    processor = ring_0("__vmx_vmread")
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
    processor = ring_0("__vmx_vmwrite")
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
    nt, _ = privileged("__vmx_vmlaunch")
    return intrinsic_status(stacks.enter_from_intrinsic(nt, "VMLAUNCH"))


@intrinsic
def __vmx_vmresume() -> int:
    """VMRESUME: does not return if it succeeds; 1 or 2 if it fails."""
    nt, _ = privileged("__vmx_vmresume")
    return intrinsic_status(stacks.enter_from_intrinsic(nt, "VMRESUME"))


@intrinsic
def __vmx_vmcall(rcx: int = 0, rdx: int = 0, r8: int = 0, r9: int = 0) -> int:
    """VMCALL with its arguments in the registers of a C call: RAX as the hypervisor leaves it.

    Outside a guest nobody is called: #UD outside VMX operation, else VMfail (1 or 2).
    """
    nt, processor = privileged("__vmx_vmcall")
    gpr = processor.vmx.gpr
    while isinstance(result := nt.ki.processor_operation(processor.vmx.vmcall), WouldExit):
        for register, value in ((1, rcx), (2, rdx), (8, r8), (9, r9)):
            gpr[register] = int(value) & memory.MASK64
        if nt.ki.processor_operation(system_guest.would_exit, processor, result):
            return int(gpr[0])
    return intrinsic_status(result)


# Caches of translations: a driver in C has a few lines of assembly for these


@intrinsic
def __invept(kind: int, descriptor: Any) -> int:
    """INVEPT: 0, 1 or 2. `descriptor` is the address of 16 bytes: the EPT pointer, and zero."""
    return _invalidate("__invept", "invept", kind, descriptor)


@intrinsic
def __invvpid(kind: int, descriptor: Any) -> int:
    """INVVPID: 0, 1 or 2. `descriptor` is the address of 16 bytes: the VPID, a linear address."""
    return _invalidate("__invvpid", "invvpid", kind, descriptor)


def _invalidate(name: str, operation: str, kind: int, descriptor: Any) -> int:
    data = current_kernel(name).mmu.read(int(descriptor), 16)
    low, high = (int.from_bytes(data[i : i + 8], "little") for i in (0, 8))
    return intrinsic_status(_vmx(name, operation, int(kind), low, high))


# Stacks


@intrinsic
def save_stack(slot: Any, function: Callable[[], Any]) -> Any:
    """Run `function` below a saved stack: its value, or what restore_stack gives. One shot.

    `slot` is the address of eight bytes that receive the stack pointer.
    """
    nt, _ = privileged("save_stack")
    if not isinstance(slot, int):
        raise caller_error(f"save_stack: slot is the address of a PVOID variable, not {slot!r}")
    if not callable(function):
        raise caller_error(f"save_stack: {function!r} cannot be called")
    return stacks.save_stack(nt, int(slot), function)


@intrinsic
def restore_stack(slot: Any, value: Any) -> None:
    """Return `value` from the save_stack of `slot`; the frames in between are abandoned."""
    nt, _ = privileged("restore_stack")
    stacks.restore_stack(nt, int(slot), value)


@intrinsic
def continue_at(rip: int, rsp: int) -> None:
    """Load RSP, jump to RIP: how an exit handler that has executed VMXOFF goes back to what was its
    guest, whose general registers are loaded first. Does not return."""
    nt, processor = privileged("continue_at")
    system_guest.continue_at(nt, processor, int(rip), int(rsp))
