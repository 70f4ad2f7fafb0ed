"""A fault that an instruction of the simulated processor raises, before anyone delivers it."""

from ntsim.abi.x86_constants import VECTOR_GP, VECTOR_UD

INVALID_OPCODE = VECTOR_UD
GENERAL_PROTECTION = VECTOR_GP

VECTORS_WITH_ERROR_CODE = frozenset({8, 10, 11, 12, 13, 14, 17})
"""SDM 3, "Exceptions and Interrupts Summary": these push an error code (without CET's #CP)."""

MNEMONICS = {
    0: "#DE",
    1: "#DB",
    2: "NMI",
    3: "#BP",
    4: "#OF",
    5: "#BR",
    6: "#UD",
    7: "#NM",
    8: "#DF",
    10: "#TS",
    11: "#NP",
    12: "#SS",
    13: "#GP",
    14: "#PF",
    16: "#MF",
    17: "#AC",
    18: "#MC",
    19: "#XM",
}


class ProcessorException(Exception):
    """The instruction did not execute; the processor raises `vector` at it.

    `error_code` is None where the vector pushes none. `address` is the linear address of a page
    fault (what CR2 will show). `reason` is for people: the rule that was broken.
    """

    def __init__(
        self, vector: int, error_code: int | None = None, address: int = 0, reason: str = ""
    ) -> None:
        super().__init__(vector, error_code, address, reason)
        self.vector = vector
        self.error_code = error_code
        self.address = address
        self.reason = reason

    def __str__(self) -> str:
        name = MNEMONICS.get(self.vector, f"exception {self.vector}")
        code = "" if self.error_code is None else f"({self.error_code:x})"
        return f"{name}{code}: {self.reason}" if self.reason else f"{name}{code}"


def invalid_opcode(reason: str) -> ProcessorException:
    """#UD."""
    return ProcessorException(INVALID_OPCODE, None, 0, reason)


def general_protection(reason: str) -> ProcessorException:
    """#GP(0)."""
    return ProcessorException(GENERAL_PROTECTION, 0, 0, reason)
