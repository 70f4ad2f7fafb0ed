"""The kernel's exports as compiled drivers see them: what bodies in nt's image call.

Each routine has a body of 32 bytes: four stores into the home space, which a hook may copy, `mov
eax, index`, HLT where the engine stops and Python goes on, RET, INT3 padding.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ntsim.abi.known_exports import VARIABLES
from ntsim.host.export_names import exported_names
from ntsim.host.faces import faces, make_unmodelled
from ntsim.host.kernel_image import (
    BODIES,
    HLT_OFFSET,
    KernelImage,
    body,
    body_address,
    names,
)
from ntsim.nt.exports import EXPORTS, Export
from ntsim.nt.kernel import Kernel
from ntsim.nt.mm.images import EXPORT_BODY, Symbol

RETURN_NAME = "KiReturnFromDriver"
GUARDS = (
    # test rcx, rcx; jns bad; ret; bad: mov ecx, 10; int 29h
    ("_guard_check_icall", bytes.fromhex("4885c9 7901 c3 b90a000000 cd29")),
    # test rax, rax; jns bad; jmp rax; bad: mov ecx, 10; int 29h
    ("_guard_dispatch_icall", bytes.fromhex("4885c0 7902 ffe0 b90a000000 cd29")),
)
"""What control-flow guard calls. Without HVCI the kernel has no map of valid targets, and refuses
user addresses only (inferred from its code): FAST_FAIL_GUARD_ICALL_CHECK_FAILURE."""


class ExportTable:
    """What the bodies of one machine call: `faces[i]` is for body i."""

    def __init__(self, nt: Kernel, image: KernelImage) -> None:
        self.variable, self.missing_variable = image.variable, image.missing_variable
        known_names = names()
        added = sorted(set(nt.stubs).difference(known_names, VARIABLES))
        more = (*added, RETURN_NAME)
        self.names = (*known_names, *more)
        self.end = BODIES + len(self.names) * EXPORT_BODY
        self.return_address = self.end - EXPORT_BODY + HLT_OFFSET
        known = faces()
        self.faces: list[Callable[..., Any]] = [
            known.get(name) or make_unmodelled(name) for name in self.names
        ]
        self.exports: list[Export | None] = [EXPORTS.get(name) for name in self.names]
        self._numbers = {name: i for i, name in enumerate(self.names)}
        self._exported = frozenset((*exported_names(), *added))
        first = len(known_names)
        code = b"".join(body(first + i) for i in range(len(more)))
        code += b"".join(data.ljust(EXPORT_BODY, b"\xcc") for _, data in GUARDS)
        image.write_bodies(first, code)
        self.guards = tuple(self.end + i * EXPORT_BODY for i in range(len(GUARDS)))
        symbol_names = (*more, *(name for name, _ in GUARDS))
        starts = [BODIES + (first + i) * EXPORT_BODY for i in range(len(symbol_names))]
        at = sum(start < BODIES + first * EXPORT_BODY for start in nt.nt_image.starts)
        nt.nt_image.symbols[at:at] = [
            Symbol(name, start, EXPORT_BODY)
            for name, start in zip(symbol_names, starts, strict=True)
        ]
        nt.nt_image.starts[at:at] = starts

    def number(self, name: str) -> int:
        """The number of a routine that exists."""
        return self._numbers[name]

    def address(self, name: str) -> int | None:
        """Of a routine's body, None if Windows has no such routine."""
        if name not in self._exported:
            return None
        return body_address(name) or BODIES + self._numbers[name] * EXPORT_BODY

    def number_at(self, address: int) -> int:
        """The number of the routine whose body `address` is in; -1 if it is in none."""
        return (address - BODIES) // EXPORT_BODY if BODIES <= address < self.end else -1
