"""Why a run stopped.

Names are our own; what AMD's SVM and Intel's VT-x call the same event is the caller's business. The
engine stops at everything that is privileged or faults, always: which of it reaches a hypervisor,
and what the rest does, the caller decides.
"""

from __future__ import annotations

import ctypes
from enum import IntEnum, auto
from typing import TYPE_CHECKING

from ntsim.hw.engine import svm
from ntsim.hw.engine.decode import Instruction, modifies_memory
from ntsim.hw.engine.registers import CS, RFLAGS, SS
from ntsim.hw.engine.state import CR0_PE
from ntsim.hw.paging import is_canonical

if TYPE_CHECKING:
    from ntsim.hw.engine.world import World


class ExitKind(IntEnum):
    """In comments: the fields of `Exit` that say more. Nothing has executed unless said."""

    QUANTUM_END = auto()  # `steps` instructions have executed
    HLT = auto()
    CPUID = auto()
    IO = auto()  # port, size, is_write; string forms in `instruction`; INS: [RDI] is already zero
    RDMSR = auto()
    WRMSR = auto()
    CR_READ = auto()  # number, gpr; also SMSW (see mnemonic)
    CR_WRITE = auto()  # number, gpr; also CLTS, LMSW (see mnemonic)
    DR_READ = auto()  # number, gpr
    DR_WRITE = auto()
    EXCEPTION = auto()  # vector, error_code, for a page fault address; #DB of RFLAGS.TF: executed
    SOFTWARE_INTERRUPT = auto()  # INT n, INT3, INTO, INT1: vector
    RDTSC = auto()
    RDTSCP = auto()
    RDPMC = auto()
    PAUSE = auto()
    INVLPG = auto()  # operand_address()
    INVD = auto()
    WBINVD = auto()
    DESCRIPTOR_TABLE = auto()  # L/SGDT, L/SIDT, L/SLDT, L/STR: mnemonic
    VMX_INSTRUCTION = auto()  # mnemonic
    SYSCALL = auto()
    RSM = auto()
    NESTED_FAULT = auto()  # address (guest-physical), error_code
    NO_MEMORY = auto()  # code is fetched from address (physical), where the machine has no RAM
    PUSHF = auto()
    POPF = auto()
    IRET = auto()
    # Instructions that the engine takes for undefined: vector is 6, and delivering #UD is right
    # where the modelled processor does not have them either.
    SYSRET = auto()
    SYSENTER = auto()
    SYSEXIT = auto()
    MONITOR = auto()
    MWAIT = auto()
    XGETBV = auto()
    XSETBV = auto()
    RDRAND = auto()
    RDSEED = auto()
    INVPCID = auto()
    GETSEC = auto()
    FAR_TRANSFER = auto()  # JMP, CALL to a far pointer, IRET: where `World.stops_far`


_K = ExitKind

KIND_OF_CODE: dict[int, ExitKind] = {
    svm.CPUID: _K.CPUID,
    svm.PAUSE: _K.PAUSE,
    svm.INVLPG: _K.INVLPG,
    svm.RDPMC: _K.RDPMC,
    svm.RSM: _K.RSM,
    svm.PUSHF: _K.PUSHF,
    svm.POPF: _K.POPF,
    svm.IRET: _K.IRET,
    svm.TASK_SWITCH: _K.FAR_TRANSFER,
    **dict.fromkeys(range(svm.IDTR_READ, svm.TR_WRITE + 1), _K.DESCRIPTOR_TABLE),
}
"""Exit codes that say all."""

_OWN_KIND = (
    *("rdmsr", "wrmsr", "rdtsc", "rdtscp", "invd", "wbinvd", "sysret", "sysenter", "sysexit"),
    *("monitor", "mwait", "xgetbv", "xsetbv", "rdrand", "rdseed", "invpcid", "getsec"),
)
_VMX = (
    *("vmcall", "vmlaunch", "vmresume", "vmxoff", "vmfunc", "vmread", "vmwrite"),
    *("vmptrld", "vmptrst", "vmclear", "vmxon", "invept", "invvpid"),
)
_KIND_OF_NAME: dict[str, ExitKind] = {
    **{name: ExitKind[name.upper()] for name in _OWN_KIND},
    **dict.fromkeys(_VMX, _K.VMX_INSTRUCTION),
    **dict.fromkeys(("int", "int3", "into", "int1"), _K.SOFTWARE_INTERRUPT),
}
_LIMITED = (
    *("rdfsbase", "rdgsbase", "wrfsbase", "wrgsbase", "rdpid", "ptwrite"),
    *("xsave", "xrstor", "xsaveopt", "xsavec", "xsaves", "xrstors"),
    *("movbe", "adcx", "adox", "clwb", "clflushopt", "stac", "clac", "rdpkru", "wrpkru"),
)
_LIMITS = {
    "vex": "VEX-encoded instruction (AVX, BMI)",
    "evex": "AVX-512",
    **{name: name.upper() for name in _LIMITED},
}
_VECTORS = {"int1": 1, "int3": 3, "into": 4}
_DEBUG, _UNDEFINED, _PROTECTION, _PAGE_FAULT = 1, 6, 13, 14
_WITH_ERROR_CODE = frozenset({8, 10, 11, 12, 13, 14, 17})
_WRITE, _FETCH = 1 << 1, 1 << 4
_RFLAGS_TF, _RFLAGS_VM = 1 << 8, 1 << 17


class Exit:
    """One exit; the object is used again by the next run with the same register file.

    `rip` is the instruction (of a trap: the next one) and stands in the register file too.
    `length` is that of the instruction at `rip` if the table of blocks has it, else 0.
    `retired` instructions executed in this run, a repeated string instruction counting once an
    iteration and once for its end. `error_code` of an exception that has none is None. Fields that
    do not apply to the kind are stale.
    """

    __slots__ = (
        "_instruction",
        "address",
        "error_code",
        "is_write",
        "kind",
        "length",
        "number",
        "port",
        "read_ahead",
        "retired",
        "rip",
        "size",
        "vector",
        "words",
        "world",
    )

    def __init__(self, words: ctypes.Array[ctypes.c_uint64]) -> None:
        self.words = words
        self._instruction: Instruction | None = None
        self.world: World
        self.kind = ExitKind.QUANTUM_END
        self.rip = self.retired = self.vector = self.address = 0
        self.number = self.port = self.size = self.length = 0
        self.is_write = self.read_ahead = False
        self.error_code: int | None = None

    def classify(self, code: int) -> None:
        """Fill in the fields for an SVM exit code that `KIND_OF_CODE` does not have."""
        self.read_ahead = False
        if code < svm.EXCEPTION:
            self.number = code & 0xF
            self.kind = (_K.CR_READ, _K.CR_WRITE, _K.DR_READ, _K.DR_WRITE)[code >> 4]
        elif code < svm.EXCEPTION + 32:
            self._classify_exception(code - svm.EXCEPTION)
        elif code == svm.NESTED_PAGE_FAULT:
            self.kind = _K.NESTED_FAULT
            self._page_fault()
        else:
            instruction = self.instruction
            assert instruction is not None, f"exit {code:#x}: no instruction at {self.rip:#x}"
            self.kind = _KIND_OF_NAME[instruction.mnemonic]
            if self.kind is _K.SOFTWARE_INTERRUPT:
                self.vector = _VECTORS.get(instruction.mnemonic, instruction.immediate or 0)

    def _classify_exception(self, vector: int) -> None:
        self.kind = _K.EXCEPTION
        self.vector = vector
        self.error_code = self.world.error_code if vector in _WITH_ERROR_CODE else None
        if vector == _PAGE_FAULT:
            self._page_fault()
            if not self.world.error_code & (_WRITE | _FETCH) and self._modifies_memory():
                self.error_code = self.world.error_code | _WRITE
        elif vector == _DEBUG or (vector == _PROTECTION and not is_canonical(self.rip)):
            self.retired += 1
        elif vector == _UNDEFINED:
            self._classify_undefined()

    def _page_fault(self) -> None:
        self.address = self.world.fault_address
        self.error_code = self.world.error_code
        view = self.world.view
        code = view.code_address(self.rip, self.words[CS])
        if self.error_code & _FETCH or self.address == code or view.physical(code) is None:
            self.retired += 1  # an instruction is counted when it has been fetched
            self._check_read_ahead(code)

    def _modifies_memory(self) -> bool:
        """The engine reads first, with an error code that says so; the processor does not."""
        view, selector = self.world.view, self.words[CS]
        return modifies_memory(view.code(self.rip, selector), view.mode(selector))

    def _check_read_ahead(self, code: int) -> None:
        """A fetch fault at a page's first byte may have come too early: `Engine._approach`."""
        crosses = self.address & 0xFFF == 0 and code & 0xFFF != 0
        self.read_ahead = crosses and not self.words[RFLAGS] & _RFLAGS_TF

    def _classify_undefined(self) -> None:
        instruction = self.instruction
        if instruction is None or instruction.locked:
            return
        self.kind = _KIND_OF_NAME.get(instruction.mnemonic, _K.EXCEPTION)
        if self.kind is _K.SOFTWARE_INTERRUPT:
            self.vector = _VECTORS[instruction.mnemonic]

    @property
    def instruction(self) -> Instruction | None:
        """The instruction at `rip`, None if it is not one that stops the engine by itself."""
        if self._instruction is None:
            self._instruction = self.world.view.decode(self.rip, self.words[CS])
        return self._instruction

    @property
    def instruction_length(self) -> int:
        """In bytes; for instructions that stop the engine."""
        if self.length:
            return self.length
        instruction = self.instruction
        assert instruction is not None, f"no system instruction at {self.rip:#x}: {self!r}"
        return instruction.length

    @property
    def mnemonic(self) -> str:
        """Lower case; "" if not an instruction that stops the engine by itself."""
        instruction = self.instruction
        return "" if instruction is None else instruction.mnemonic

    @property
    def gpr(self) -> int:
        """The general register of a MOV to or from a control or debug register."""
        instruction = self.instruction
        assert instruction is not None and instruction.rm is not None, f"{self!r} has no register"
        return instruction.rm

    @property
    def engine_limit(self) -> str | None:
        """For #UD: what the engine cannot execute though processors exist that can."""
        if self.vector != _UNDEFINED or self.kind is not _K.EXCEPTION:
            return None
        instruction = self.instruction
        return None if instruction is None else _LIMITS.get(instruction.mnemonic)

    @property
    def cpl(self) -> int:
        """Current privilege level."""
        if not self.world.cr0 & CR0_PE:
            return 0
        return 3 if self.words[RFLAGS] & _RFLAGS_VM else self.words[SS] & 3

    @property
    def io_allowed(self) -> bool:
        """Whether I/O needs no look at the TSS's permission bitmap: the engine does not check."""
        if self.words[RFLAGS] & _RFLAGS_VM:
            return False
        return self.cpl <= self.words[RFLAGS] >> 12 & 3

    def operand_address(self) -> int:
        """Linear address of the instruction's memory operand, segment base included."""
        instruction = self.instruction
        assert instruction is not None and instruction.memory is not None, f"{self!r}: no operand"
        operand, words = instruction.memory, self.words
        offset = operand.displacement
        if operand.relative:
            offset += self.rip + instruction.length
        if operand.base is not None:
            offset += words[operand.base]
        if operand.index is not None:
            offset += words[operand.index] * operand.scale
        offset &= (1 << 8 * operand.size) - 1
        return self.world.view.linear(operand.segment, offset)

    def disassemble(self) -> str:
        """The instruction at `rip` as text, by capstone: for reports."""
        return self.world.view.disassemble(self.rip, self.words[CS])

    def __repr__(self) -> str:
        return f"<{self.kind.name} at {self.rip:#x}>"
