"""A guest's general registers as an exit handler sees them: `regs.Rax` ... `regs.R15`."""

from __future__ import annotations

import ctypes

NAMES = (
    "Rax", "Rcx", "Rdx", "Rbx", "Rsp", "Rbp", "Rsi", "Rdi",
    "R8", "R9", "R10", "R11", "R12", "R13", "R14", "R15",
)  # fmt: skip


class GuestRegisters(ctypes.Structure):
    """What an assembly exit stub would have pushed, laid over `VmxUnit.gpr`.

    What is assigned is taken modulo 2**64. Rsp is the guest's, kept in the VMCS.
    """

    __slots__ = ()
    _fields_ = tuple((name, ctypes.c_uint64) for name in NAMES)

    def __getattr__(self, name: str) -> int:
        raise AttributeError(f"a guest has no register {name}: {', '.join(NAMES)}")

    def __repr__(self) -> str:
        pairs = ", ".join(f"{name}={getattr(self, name):#x}" for name in NAMES)
        return f"GuestRegisters({pairs})"
