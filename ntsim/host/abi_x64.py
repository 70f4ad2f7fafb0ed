"""The x64 calling convention between the kernel's Python and compiled code.

Into compiled code: the first four arguments in RCX, RDX, R8, R9, the rest above 32 bytes of home
space, the result in RAX. Out of it: the arguments of an export from the same places, as many as its
prototype has; a variadic one is given what lies further up the stack. Source: x64 ABI conventions.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from inspect import Parameter, signature
from typing import Any

from greenlet import getcurrent

from ntsim.abi.services import services
from ntsim.errors import ConfigurationError
from ntsim.host.export_table import ExportTable
from ntsim.host.faces import converters
from ntsim.host.own_exports import OwnExports
from ntsim.hw.cpu import RFLAGS_FIXED, Processor
from ntsim.hw.engine import RegisterFile
from ntsim.nt.exports import EXPORTS, Export
from ntsim.nt.kernel import Kernel
from ntsim.nt.ki.service_table import nt_service

RAX, RCX, RDX, RBX, RSP, RBP, RSI, RDI, R8, R9 = range(10)
RFLAGS, RIP = 16, 17
_IN_REGISTERS = RCX, RDX, R8, R9
MASK = 0xFFFF_FFFF_FFFF_FFFF
HOME_SPACE = 0x20
VARIADIC_SLOTS = 24
"""How many arguments a variadic routine may look at."""


class Activation:
    """One call of compiled code.

    `top` is where its return address lies (the first RSP of an exit handler), `greenlet` the host
    stack it was called on; `guest` the VT-x unit whose exit the code handles, None for an ordinary
    call; `user` where a system call returns to in user mode, else 0. `in_export` is true while an
    export that it called runs, `resumes` when an exit handler has executed VMRESUME.
    """

    __slots__ = (
        *("fields", "greenlet", "guest", "in_export", "registers", "resumes", "thread", "top"),
        *("user", "words"),
    )

    def __init__(self, registers: RegisterFile) -> None:
        self.registers, self.words, self.fields = registers, registers.words, registers.fields
        self.thread: Any = None
        self.greenlet: Any = None
        self.guest: Any = None
        self.top = self.user = 0
        self.in_export = self.resumes = False

    def begin(self, thread: Any) -> None:
        """The call is made on the current host stack, by `thread`."""
        self.thread, self.greenlet = thread, getcurrent()
        self.fields.rflags = RFLAGS_FIXED

    def into(self, processor: Processor) -> None:
        """The code exits from a guest: its registers are the guest's."""
        words = self.words
        processor.vmx.gpr[:] = words[0:16]
        processor.rip, processor.rsp, processor.rflags = words[RIP], words[RSP], words[RFLAGS]

    def out_of(self, processor: Processor) -> None:
        """The guest goes on."""
        words = self.words
        words[0:16] = processor.vmx.gpr[:]
        words[RIP], words[RSP], words[RFLAGS] = processor.rip, processor.rsp, processor.rflags
        self.thread.storage = words[RSP]


def enter(
    nt: Kernel, activation: Activation, address: int, arguments: tuple[Any, ...], back: int
) -> None:
    """Set up the stack and registers for a call that returns to `back`."""
    thread, fields = activation.thread, activation.fields
    count, storage = len(arguments), thread.storage
    stack = (storage - 8 * (count if count > 4 else 4) & ~15) - 8
    if stack < thread.stack_limit <= storage <= thread.stack_base:
        nt.ki.double_fault(stack, address)
    activation.top = fields.rsp = stack
    fields.rip = address
    nt.mmu.write_word(stack, back)
    try:
        if count == 2:
            fields.rcx, fields.rdx = arguments
            return
        if count == 1:
            fields.rcx = arguments[0]
            return
    except TypeError:  # None is NULL
        pass
    for place, argument in enumerate(arguments):
        value = int(argument or 0) & MASK
        if place < 4:
            activation.words[_IN_REGISTERS[place]] = value
        else:
            nt.mmu.write_word(stack + 8 + 8 * place, value)


class ExportCalls:
    """Calls of exports out of compiled code: for each, how many arguments it takes."""

    def __init__(self, nt: Kernel, exports: ExportTable) -> None:
        self.nt, self.exports, self.faces = nt, exports, exports.faces
        self.counts = [
            (len(e.parameters), e.variadic) if e is not None else (0, False)
            for e in exports.exports
        ]
        self.entries = [
            (face, -1 if variadic else count)
            for face, (count, variadic) in zip(self.faces, self.counts, strict=True)
        ]
        """What the body of each calls, with as many arguments; -1 if not all are known."""
        self.activation: Any = None  # whose code calls, for routines that look at its registers
        self.replace(OwnExports(nt, exports).routines)
        self.replace({name: _service(nt, name) for name in services() if name not in EXPORTS})

    def replace_stubs(self) -> None:
        """Routines that the user of ntsim has replaced: by a value, or by a function that is given
        as many arguments as it takes."""
        for name, stub in self.nt.stubs.items():
            if self.exports.address(name) is None:
                raise ConfigurationError(
                    f"stub of {name}: Windows has no such routine; to invent one, give its stub "
                    "before the first .sys is loaded"
                )
            if callable(stub):
                self.replace({name: (stub, _positional(stub))})
            else:
                self.replace({name: (lambda value=stub: value, 0)})

    def replace(self, routines: dict[str, tuple[Callable[..., Any], int]]) -> None:
        """Give exports another routine, which takes this many arguments."""
        for name, (function, count) in routines.items():
            number = self.exports.number(name)
            self.faces[number], self.counts[number] = function, (count, False)
            self.entries[number] = function, count

    def call(self, number: int, words: Any) -> Any:
        """Run the export with what the caller left in registers and on the stack."""
        count, variadic = self.counts[number]
        face = self.faces[number]
        if not variadic and count <= 4:
            if count == 1:
                return face(words[RCX])
            if count == 2:
                return face(words[RCX], words[RDX])
            if count == 3:
                return face(words[RCX], words[RDX], words[R8])
            return face(words[RCX], words[RDX], words[R8], words[R9]) if count else face()
        further = count - 4 if not variadic else count - 4 + self._room(words[RSP], count)
        stack = self._stack(words[RSP] + 8 + HOME_SPACE, further)
        arguments = (words[RCX], words[RDX], words[R8], words[R9], *stack)
        return face(*arguments) if variadic else face(*arguments[:count])

    def of_routine(self, function: Callable[..., Any], words: Any) -> tuple[Any, ...]:
        """The arguments of a Python routine that is called by its address.

        One inside the kernel has the kernel in front, and types; a driver's takes addresses.
        """
        inner = getattr(function, "inner", function)
        count = inner.__code__.co_argcount
        if inner is function:
            given = words[RCX], words[RDX], words[R8], words[R9]
            return (given + self._stack(words[RSP] + 8 + HOME_SPACE, count - 4))[:count]
        convert = converters(Export(inner, "any", (), False), inner.__name__)
        registers = (words[RCX], words[RDX], words[R8], words[R9])
        values = registers + self._stack(words[RSP] + 8 + HOME_SPACE, len(convert) - 4)
        return tuple(c(self.nt, v) for c, v in zip(convert, values, strict=False))

    def _room(self, stack: int, count: int) -> int:
        """Slots that a variadic routine may see: not beyond the top of the stack."""
        base = self.nt.thread.stack_base
        above = (base - stack - 8 - HOME_SPACE) // 8 if stack < base else VARIADIC_SLOTS
        return max(0, min(VARIADIC_SLOTS, above))

    def _stack(self, address: int, count: int) -> tuple[int, ...]:
        if count <= 0:
            return ()
        return struct.unpack(f"<{count}Q", self.nt.mmu.read(address, 8 * count))


def _service(nt: Kernel, name: str) -> tuple[Callable[..., Any], int]:
    """The code of a service, and how many arguments it takes."""
    service = nt_service(nt, name)

    def face(*arguments: int) -> int:
        nt.il.step()
        return service(*arguments)

    return face, service.count


def _positional(function: Callable[..., Any]) -> int:
    """How many arguments a function takes that cannot be left out."""
    kinds = (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD)
    parameters = signature(function).parameters.values()
    return sum(p.kind in kinds and p.default is Parameter.empty for p in parameters)


def store_result(words: Any, result: Any) -> None:
    """What an export returned goes to RAX; a VOID one leaves it alone."""
    if type(result) is int:
        words[RAX] = result & MASK
    elif result is not None:
        words[RAX] = int(getattr(result, "QuadPart", result)) & MASK
