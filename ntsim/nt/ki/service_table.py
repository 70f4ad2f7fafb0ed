"""System calls by what memory holds, once somebody may have changed it.

As long as nobody can have written to nt's text, to its service tables or to LSTAR, a system call
goes straight to its service (`syscall.system_call`). From then on each one does what KiSystemCall64
does: KeServiceDescriptorTable gives KiServiceTable and its limit, the entry gives the routine's
distance from the table (times 16) and how many arguments lie on the stack; those are copied from
the user's stack to the kernel's. What the entry leads to is called: the service itself if its code
is what it was, else whatever is there. A Zw routine does the same with previous mode kernel, as
KiServiceInternal does.
Source: Windows Internals 7, part 2, ch. 8 (system service dispatching); ReactOS
ntoskrnl/ke/amd64/trap.S.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ntsim.abi import ntstatus
from ntsim.abi.services import service_numbers, services
from ntsim.errors import UnmodelledRoutine
from ntsim.nt.exports import EXPORTS
from ntsim.nt.mm import layout
from ntsim.nt.mm.system_routine import typed_argument

if TYPE_CHECKING:
    from ntsim.nt.ke.thread import Thread
    from ntsim.nt.kernel import Kernel

MASK = (1 << 64) - 1
IN_REGISTERS = 4
STACK_ARGUMENTS = 0x28
"""Above the user's stack pointer: a return address and the home space of four arguments."""

_ADDRESSES = frozenset(("PVOID", "HANDLE"))
WIN32K = 0x1000
"""The bit of a service number that chooses the second table."""

_DESCRIPTOR = struct.Struct("<QQIxxxxQ")


def ki_pass_arguments(nt: Kernel, thread: Thread, arguments: tuple[Any, ...]) -> tuple[int, ...]:
    """What an app does before SYSCALL: four registers' values; further arguments on its stack."""
    given = [int(argument or 0) & MASK for argument in arguments]
    own = given[IN_REGISTERS:]
    if own:
        nt.mmu.write(thread.user_rsp + STACK_ARGUMENTS, struct.pack(f"<{len(own)}Q", *own))
    return (*given[:IN_REGISTERS], *(0,) * (IN_REGISTERS - len(given)))


def ki_service_of_user(nt: Kernel, number: int, registers: tuple[int, ...]) -> int:
    """The status of a system service that user mode asks for by its number; PreviousMode is user's.

    `registers` are the first four arguments; as many as the entry says come from the user's stack.
    An entry that asks for more than the app has pushed gets what lies above.
    """
    found = ki_look_up(nt, number)
    if found is None:
        return ntstatus.STATUS_INVALID_SYSTEM_SERVICE
    target, stacked = found
    if stacked:
        copied = nt.mmu.read(nt.thread.user_rsp + STACK_ARGUMENTS, 8 * stacked)
        registers += struct.unpack(f"<{stacked}Q", copied)
    return ki_call_service(nt, target, registers) & 0xFFFF_FFFF


def ki_look_up(nt: Kernel, number: int) -> tuple[int, int] | None:
    """(routine, arguments on the stack) that the tables have for a service; None beyond a limit."""
    place = layout.KE_SERVICE_DESCRIPTOR_TABLE
    if number & WIN32K:
        place = layout.KE_SERVICE_DESCRIPTOR_TABLE_SHADOW + _DESCRIPTOR.size
    base, _, limit, _ = _DESCRIPTOR.unpack(nt.mmu.read(place, _DESCRIPTOR.size))
    index = number & WIN32K - 1
    if not base and number & WIN32K:
        what = f"system service {number:#x}"
        nt.fail(UnmodelledRoutine(what, "win32k is not modelled: there is no second table"))
    if index >= limit:
        return None
    entry = int.from_bytes(nt.mmu.read(base + 4 * index & MASK, 4), "little", signed=True)
    return base + (entry >> 4) & MASK, entry & 0xF


def ki_call_service(nt: Kernel, target: int, arguments: tuple[int, ...]) -> int:
    """Call what an entry leads to."""
    name = nt.host.service_at(target)
    if name:
        return nt_service(nt, name)(*arguments)
    return nt.host.call(target, for_routine(nt, target, arguments))


def for_routine(nt: Kernel, target: int, arguments: tuple[int, ...]) -> tuple[int, ...]:
    """As many arguments as a Python routine takes: a hook with more parameters than were copied
    finds in them what lies on the kernel's stack."""
    routine = nt.host.routine_at(target)
    code = getattr(routine, "__code__", None)
    if code is None:
        return arguments
    missing = code.co_argcount - len(arguments)
    if missing <= 0:
        return arguments[: code.co_argcount]
    place = nt.thread.storage
    return (*arguments, *(nt.mmu.read_word(place + 8 * i) for i in range(missing)))


class NtService:
    """The code of nt!NtXxx: the service for the thread's previous mode, arguments as numbers.

    For the kernel it does what ZwXxx does, where that is modelled. The run stops with the name of a
    service that is not modelled, or not for that mode.
    """

    __slots__ = ("count", "for_kernel", "for_user", "name", "nt")

    def __init__(self, nt: Kernel, name: str) -> None:
        from ntsim.nt.ki.services import SYSTEM_SERVICES

        self.nt, self.name = nt, name
        service, zw = SYSTEM_SERVICES.get(name), EXPORTS.get("Zw" + name[2:])
        self.for_user = None if service is None else _Typed(service, parameters_of(service))
        self.for_kernel = self.for_user if zw is None else _Typed(zw.function, zw.parameters)
        known = self.for_kernel or self.for_user
        self.count = 0 if known is None else len(known.kinds)

    def __call__(self, *arguments: int) -> int:
        nt = self.nt
        mode = nt.thread.v.PreviousMode
        service = self.for_user if mode else self.for_kernel
        if service is None:
            nt.fail(UnmodelledRoutine(self.name, "called by an app" if mode else ""))
        return service.call(nt, arguments)


def nt_service(nt: Kernel, name: str) -> NtService:
    """One of them, made once for a machine."""
    found = nt.ki.services.get(name)
    if found is None:
        found = nt.ki.services[name] = NtService(nt, name)
    return found


def parameters_of(service: Callable[..., int]) -> list[tuple[str, str]]:
    """Names and types of a service's parameters behind the kernel."""
    inner = getattr(service, "__wrapped__", service)
    code, notes = inner.__code__, inner.__annotations__
    names = code.co_varnames[1 : code.co_argcount]
    return [(name, str(notes.get(name, "PVOID"))) for name in names]


class _Typed:
    """A routine that takes typed arguments, called with registers' values."""

    __slots__ = ("function", "kinds")

    def __init__(self, function: Callable[..., Any], parameters: list[tuple[str, str]]) -> None:
        self.function, self.kinds = function, [kind for _, kind in parameters]

    def call(self, nt: Kernel, arguments: tuple[int, ...]) -> int:
        """A parameter that was not passed has what lies on the kernel's stack."""
        missing = len(self.kinds) - len(arguments)
        if missing > 0:
            place = nt.thread.storage
            arguments += tuple(nt.mmu.read_word(place + 8 * i) for i in range(missing))
        typed = [
            value if kind in _ADDRESSES else typed_argument(nt, kind, value)
            for kind, value in zip(self.kinds, arguments, strict=False)
        ]
        return int(self.function(nt, *typed))


# Callers in the kernel


def ki_service_of_kernel(nt: Kernel, name: str, arguments: tuple[Any, ...]) -> int | None:
    """A driver's call of ZwXxx through the tables, None if they lead where they always did.

    What else they lead to is called with previous mode kernel.
    """
    found = ki_look_up(nt, service_numbers()[name])
    if found is None:
        return ntstatus.STATUS_INVALID_SYSTEM_SERVICE
    target, stacked = found
    if nt.host.service_at(target) == name:
        return None
    given = [int(argument or 0) & MASK for argument in arguments[: IN_REGISTERS + stacked]]
    given += [0] * (IN_REGISTERS - len(given))
    v = nt.thread.v
    before = v.PreviousMode
    v.PreviousMode = 0
    try:
        return ki_call_service(nt, target, tuple(given)) & 0xFFFF_FFFF
    finally:
        v.PreviousMode = before


def service_name(number: int) -> str:
    """Of a number, for people."""
    known = services()
    return known[number] if number < len(known) else f"system service {number:#x}"
