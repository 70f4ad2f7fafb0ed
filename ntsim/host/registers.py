"""A guest's general registers as an exit handler sees them: `regs.Rax` ... `regs.R15`."""

from __future__ import annotations

from typing import Any

NAMES = (
    "Rax", "Rcx", "Rdx", "Rbx", "Rsp", "Rbp", "Rsi", "Rdi",
    "R8", "R9", "R10", "R11", "R12", "R13", "R14", "R15",
)  # fmt: skip
_MASK = 0xFFFF_FFFF_FFFF_FFFF


class GuestRegisters:
    """What an assembly exit stub would have pushed. Rsp is the guest's, kept in the VMCS."""

    __slots__ = ("_unit",)

    _unit: Any

    def __init__(self, unit: Any) -> None:
        object.__setattr__(self, "_unit", unit)

    def __getattr__(self, name: str) -> int:
        if name not in NAMES:
            raise AttributeError(f"a guest has no register {name}: {', '.join(NAMES)}")
        return int(self._unit.gpr[NAMES.index(name)])

    def __setattr__(self, name: str, value: int) -> None:
        if name not in NAMES:
            raise AttributeError(f"a guest has no register {name}: {', '.join(NAMES)}")
        self._unit.gpr[NAMES.index(name)] = int(value) & _MASK

    def __repr__(self) -> str:
        pairs = ", ".join(f"{name}={getattr(self, name):#x}" for name in NAMES)
        return f"GuestRegisters({pairs})"
