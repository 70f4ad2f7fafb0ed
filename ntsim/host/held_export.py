"""Routines of the kernel that drivers reach by a pointer the kernel gives them.

DMA_OPERATIONS is a table of such pointers. Compiled and Python drivers call them as they call an
export, and the verifier looks at the call in the same way.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ntsim.host.faces import faces
from ntsim.nt.exports import EXPORTS
from ntsim.nt.kernel import Kernel


@dataclass(frozen=True, eq=True)
class HeldExport:
    """A routine of the kernel at an address that it gives away. Equal for the same routine.

    Called with the kernel in front and typed arguments, on the caller's behalf.
    """

    nt: Kernel
    name: str

    @property
    def inner(self) -> Callable[..., Any]:
        return EXPORTS[self.name].function

    @property
    def face(self) -> Callable[..., Any]:
        """What a Python driver calls."""
        return faces()[self.name]

    def __call__(self, *arguments: Any) -> Any:
        nt, export = self.nt, EXPORTS[self.name]
        if nt.verifier is not None:
            return nt.verifier.call(nt, export, (nt, *arguments))
        return export.function(nt, *arguments)
