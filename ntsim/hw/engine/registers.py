"""The registers of one thread of execution, laid out for the library's batch calls.

One batch each way (1 us for both) is what makes an exit cheap: the library reads and
writes the words of this array through a table of pointers built once.
"""

import ctypes
from typing import Any

from ntsim.hw.engine import unicorn_c as c

RAX, RCX, RDX, RBX, RSP, RBP, RSI, RDI, R8, R9, R10, R11, R12, R13, R14, R15 = range(16)
RFLAGS, RIP, CS, SS, MXCSR, XMM = 16, 17, 18, 19, 20, 22
_WORDS = XMM + 2 * 16

# What is read is a longer list than what is written: RIP is an argument of the run, and a selector
# written alone would not load its segment.
_NOT_WRITTEN = (c.REG_RIP, c.REG_CS, c.REG_SS)
_IDS = (*c.REG_GENERAL, c.REG_RFLAGS, *c.REG_XMM, c.REG_MXCSR, *_NOT_WRITTEN)
_PLACES = (*range(17), *range(XMM, _WORDS, 2), MXCSR, RIP, CS, SS)
_ids = (ctypes.c_int * len(_IDS))(*_IDS)
_INITIAL_MXCSR = 0x1F80


class _Word:
    """One word of a register file as an attribute; values are taken modulo 2**64."""

    __slots__ = ("number",)

    def __init__(self, number: int) -> None:
        self.number = number

    def __get__(self, registers: "RegisterFile", owner: object = None) -> int:
        return registers.words[self.number]

    def __set__(self, registers: "RegisterFile", value: int) -> None:
        registers.words[self.number] = value


class RegisterFile:
    """RAX to R15, RFLAGS, RIP, XMM0 to XMM15 and MXCSR.

    `words` is the truth, indexed by the constants of this module (XMM register n is the two words
    from `XMM + 2 * n`); `rax` and the rest are the same words by name. `cs` and `ss` hold the
    selectors after a run and are not loaded by one: a world has them. The x87 registers stay with
    the world too.
    """

    __slots__ = ("exit", "read_batch", "words", "write_batch")

    rax, rcx, rdx, rbx = _Word(RAX), _Word(RCX), _Word(RDX), _Word(RBX)
    rsp, rbp, rsi, rdi = _Word(RSP), _Word(RBP), _Word(RSI), _Word(RDI)
    r8, r9, r10, r11 = _Word(R8), _Word(R9), _Word(R10), _Word(R11)
    r12, r13, r14, r15 = _Word(R12), _Word(R13), _Word(R14), _Word(R15)
    rflags, rip, cs, ss, mxcsr = _Word(RFLAGS), _Word(RIP), _Word(CS), _Word(SS), _Word(MXCSR)

    def __init__(self) -> None:
        self.exit: Any = None  # the engine's, used again from run to run
        self.words = (ctypes.c_uint64 * _WORDS)()
        self.words[RFLAGS] = 2
        self.words[MXCSR] = _INITIAL_MXCSR
        first = ctypes.addressof(self.words)
        pointers = (ctypes.c_void_p * len(_IDS))(*(first + 8 * place for place in _PLACES))
        self.read_batch = (_ids, pointers, len(_IDS))
        self.write_batch = (_ids, pointers, len(_IDS) - len(_NOT_WRITTEN))

    def xmm(self, number: int) -> int:
        """XMM register `number` as a 128-bit integer."""
        low, high = self.words[XMM + 2 * number], self.words[XMM + 2 * number + 1]
        return low | high << 64

    def set_xmm(self, number: int, value: int) -> None:
        """Set XMM register `number` to the low 128 bits of `value`."""
        self.words[XMM + 2 * number] = value & 0xFFFF_FFFF_FFFF_FFFF
        self.words[XMM + 2 * number + 1] = value >> 64 & 0xFFFF_FFFF_FFFF_FFFF

    def copy_from(self, other: "RegisterFile") -> None:
        """Take over every word of another register file."""
        ctypes.memmove(self.words, other.words, ctypes.sizeof(self.words))

    def __repr__(self) -> str:
        names = "rax rcx rdx rbx rsp rbp rsi rdi r8 r9 r10 r11 r12 r13 r14 r15 rflags rip".split()
        return " ".join(f"{name}={self.words[i]:x}" for i, name in enumerate(names))
