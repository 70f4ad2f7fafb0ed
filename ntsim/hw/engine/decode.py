"""Decodes the instructions that stop the engine: their name, length and operands.

A small decoder on purpose: system instructions have regular encodings, a general disassembler
costs 12 ms to load and 9 us an instruction, and an exit handler needs the length exactly.
Encodings: SDM 2, instruction reference and chapter "Instruction Format", opcode maps in appendix A.
"""

from dataclasses import dataclass

LOCK, REPNE, REP = 0xF0, 0xF2, 0xF3
_SEGMENT_PREFIXES = {0x26: "es", 0x2E: "cs", 0x36: "ss", 0x3E: "ds", 0x64: "fs", 0x65: "gs"}


@dataclass(slots=True)
class MemoryOperand:
    """segment:[base + index * scale + displacement]; registers by number, None where absent.

    With `relative` the displacement counts from the next instruction. `size` is the width of the
    address in bytes, to which the sum is truncated.
    """

    segment: str
    base: int | None
    index: int | None
    scale: int
    displacement: int
    relative: bool
    size: int


@dataclass(slots=True)
class Instruction:
    """One decoded instruction.

    `register` is the number in ModRM.reg, the control register of a MOV CR; `rm` the register in
    ModRM.rm, None if `memory` is the operand. `operand_size` in bytes is what the prefixes say,
    before rules of single instructions (VMREAD always takes 8 in 64-bit mode). `repeated` is true
    with a REP or REPNE prefix.
    """

    mnemonic: str
    length: int = 0
    operand_size: int = 4
    register: int = 0
    rm: int | None = None
    memory: MemoryOperand | None = None
    immediate: int | None = None
    repeated: bool = False
    locked: bool = False


class _Reader:
    """The bytes of an instruction and the prefixes found so far."""

    def __init__(self, code: bytes, mode: int) -> None:
        self.code, self.mode, self.at = code, mode, 0
        self.segment: str | None = None
        self.operand_override = self.address_override = False
        self.repeat = self.rex = 0
        self.locked = False

    def byte(self) -> int:
        value = self.code[self.at]
        self.at += 1
        return value

    def signed(self, size: int) -> int:
        raw = self.code[self.at : self.at + size]
        if len(raw) < size:
            raise IndexError
        self.at += size
        return int.from_bytes(raw, "little", signed=True)

    def prefixes(self) -> int:
        """Consume the prefixes and return the first opcode byte."""
        while True:
            byte = self.byte()
            if byte in _SEGMENT_PREFIXES:
                self.segment = _SEGMENT_PREFIXES[byte]
            elif byte == 0x66:
                self.operand_override = True
            elif byte == 0x67:
                self.address_override = True
            elif byte == LOCK:
                self.locked = True
            elif byte in (REP, REPNE):
                self.repeat = byte
            elif self.mode == 64 and byte & 0xF0 == 0x40:
                self.rex = byte
                continue
            else:
                return byte
            self.rex = 0  # a REX that other prefixes follow does not count

    @property
    def operand_size(self) -> int:
        if self.rex & 8:
            return 8
        return 2 if (self.mode == 16) != self.operand_override else 4

    @property
    def address_size(self) -> int:
        if self.mode == 64:
            return 4 if self.address_override else 8
        return 2 if (self.mode == 16) != self.address_override else 4

    @property
    def mandatory(self) -> int:
        """The prefix that selects among instructions of one opcode: F3, F2, 66 or 0."""
        return self.repeat or (0x66 if self.operand_override else 0)


def decode(code: bytes, mode: int) -> Instruction | None:
    """Decode the instruction that `code` begins with, in `mode` 16, 32 or 64 (bits).

    None if it is not one that can stop the engine, or its bytes are not all there.
    """
    reader = _Reader(code, mode)
    try:
        opcode = reader.prefixes()
        found = _two_byte(reader) if opcode == 0x0F else _one_byte(reader, opcode)
    except IndexError:
        return None
    if found is not None:
        found.length = reader.at
        found.operand_size = reader.operand_size
        found.repeated = reader.repeat != 0
        found.locked = reader.locked
    return found


_MODIFIES = {
    **{alu << 3 | wide: range(8) for alu in range(7) for wide in (0, 1)},
    **dict.fromkeys((0x80, 0x81, 0x82, 0x83), range(7)),  # the eighth is CMP
    **dict.fromkeys((0x86, 0x87, 0xC0, 0xC1, 0xD0, 0xD1, 0xD2, 0xD3), range(8)),
    **dict.fromkeys((0xF6, 0xF7), (2, 3)),
    **dict.fromkeys((0xFE, 0xFF), (0, 1)),
}
_MODIFIES_TWO_BYTE = {
    **dict.fromkeys((0xA4, 0xA5, 0xAC, 0xAD, 0xAB, 0xB0, 0xB1, 0xB3, 0xBB, 0xC0, 0xC1), range(8)),
    0xBA: (5, 6, 7),
    0xC7: (1,),
}
"""By opcode: the values of ModRM.reg with which the operand in memory is read and written."""


def modifies_memory(code: bytes, mode: int) -> bool:
    """Whether the instruction reads its operand in memory to write it: ADD, INC, XCHG, BTS...

    The processor asks for write access from the start, so that a page that is not there is a write
    in the error code. Source: SDM 3A, "Page-Fault Exceptions" (W/R is that of the access).
    """
    reader = _Reader(code, mode)
    try:
        opcode = reader.prefixes()
        found = _MODIFIES.get(opcode)
        if opcode == 0x0F:
            found = _MODIFIES_TWO_BYTE.get(reader.byte())
        modrm = reader.byte()
    except IndexError:
        return False
    return found is not None and modrm < 0xC0 and modrm >> 3 & 7 in found


_ONE_BYTE = {0xF4: "hlt", 0xCC: "int3", 0xCE: "into", 0xF1: "int1"}
_IO = {0xE4: "in", 0xE6: "out", 0xEC: "in", 0xEE: "out", 0x6C: "ins", 0x6E: "outs"}


def _one_byte(reader: _Reader, opcode: int) -> Instruction | None:
    if opcode == 0xCE and reader.mode == 64:
        return None
    if opcode in _ONE_BYTE:
        return Instruction(_ONE_BYTE[opcode])
    if opcode & 0xFE in _IO:
        immediate = reader.byte() if opcode & 0xF8 == 0xE0 else None
        return Instruction(_IO[opcode & 0xFE], immediate=immediate)
    if opcode == 0xCD:
        return Instruction("int", immediate=reader.byte())
    if opcode == 0x90 and reader.repeat == REP:
        return Instruction("pause")
    if opcode in (0x9C, 0x9D, 0xCF):
        return Instruction({0x9C: "pushf", 0x9D: "popf", 0xCF: "iret"}[opcode])
    if opcode in (0xC4, 0xC5, 0x62) and (reader.mode == 64 or reader.byte() & 0xC0 == 0xC0):
        return Instruction("evex" if opcode == 0x62 else "vex")
    return None


_TWO_BYTE = {
    0x05: "syscall",
    0x06: "clts",
    0x07: "sysret",
    0x08: "invd",
    0x09: "wbinvd",
    0x0B: "ud2",
    0x30: "wrmsr",
    0x31: "rdtsc",
    0x32: "rdmsr",
    0x33: "rdpmc",
    0x34: "sysenter",
    0x35: "sysexit",
    0x37: "getsec",
    0xA2: "cpuid",
    0xAA: "rsm",
}
_MOVES = {0x20: "mov_from_cr", 0x22: "mov_to_cr", 0x21: "mov_from_dr", 0x23: "mov_to_dr"}
_GROUP_6 = ("sldt", "str", "lldt", "ltr")
_GROUP_7_MEMORY = ("sgdt", "sidt", "lgdt", "lidt", "smsw", "", "lmsw", "invlpg")
_GROUP_7 = {
    0xC1: "vmcall",
    0xC2: "vmlaunch",
    0xC3: "vmresume",
    0xC4: "vmxoff",
    0xC8: "monitor",
    0xC9: "mwait",
    0xCA: "clac",
    0xCB: "stac",
    0xD0: "xgetbv",
    0xD1: "xsetbv",
    0xD4: "vmfunc",
    0xEE: "rdpkru",
    0xEF: "wrpkru",
    0xF8: "swapgs",
    0xF9: "rdtscp",
}


def _two_byte(reader: _Reader) -> Instruction | None:
    opcode = reader.byte()
    if opcode in _TWO_BYTE:
        return Instruction(_TWO_BYTE[opcode])
    if opcode in _MOVES:
        modrm = reader.byte()  # always a register, whatever ModRM.mod says
        return Instruction(
            _MOVES[opcode],
            register=modrm >> 3 & 7 | (reader.rex & 4) << 1,
            rm=modrm & 7 | (reader.rex & 1) << 3,
        )
    if opcode == 0x00:
        found = _modrm(reader, "")
        number = found.register & 7
        found.mnemonic = _GROUP_6[number] if number < 4 else ""
        return found if found.mnemonic else None
    if opcode == 0x01:
        return _group_7(reader)
    if opcode in (0x78, 0x79) and not reader.mandatory:
        return _modrm(reader, "vmread" if opcode == 0x78 else "vmwrite")
    if opcode == 0xC7:
        return _group_9(reader)
    if opcode == 0xAE:
        return _group_15(reader)
    return _three_byte(reader) if opcode == 0x38 else None


def _group_7(reader: _Reader) -> Instruction | None:
    modrm = reader.code[reader.at]
    if modrm < 0xC0 or modrm >> 3 & 7 in (4, 6):
        name = _GROUP_7_MEMORY[modrm >> 3 & 7]
        return _modrm(reader, name) if name else None
    reader.at += 1
    return Instruction(_GROUP_7[modrm]) if modrm in _GROUP_7 else None


def _group_9(reader: _Reader) -> Instruction | None:
    found = _modrm(reader, "")
    number, prefix = found.register & 7, reader.mandatory
    if found.memory is None:
        names = {(6, 0): "rdrand", (7, 0): "rdseed", (6, 0x66): "rdrand", (7, 0x66): "rdseed"}
        names[7, REP] = "rdpid"
    else:
        names = {(6, 0): "vmptrld", (6, 0x66): "vmclear", (6, REP): "vmxon", (7, 0): "vmptrst"}
        names |= {(3, 0): "xrstors", (4, 0): "xsavec", (5, 0): "xsaves"}
    found.mnemonic = names.get((number, prefix), "")
    return found if found.mnemonic else None


def _group_15(reader: _Reader) -> Instruction | None:
    found = _modrm(reader, "")
    number, prefix = found.register & 7, reader.mandatory
    if found.memory is None:
        names = dict(enumerate(("rdfsbase", "rdgsbase", "wrfsbase", "wrgsbase", "ptwrite")))
        found.mnemonic = names.get(number, "") if prefix == REP and reader.mode == 64 else ""
    elif prefix == 0x66:
        found.mnemonic = {6: "clwb", 7: "clflushopt"}.get(number, "")
    elif prefix == 0:
        found.mnemonic = {4: "xsave", 5: "xrstor", 6: "xsaveopt"}.get(number, "")
    return found if found.mnemonic else None


def _three_byte(reader: _Reader) -> Instruction | None:
    opcode, prefix = reader.byte(), reader.mandatory
    names = {(0x80, 0x66): "invept", (0x81, 0x66): "invvpid", (0x82, 0x66): "invpcid"}
    names |= {(0xF0, 0): "movbe", (0xF1, 0): "movbe", (0xF0, 0x66): "movbe", (0xF1, 0x66): "movbe"}
    names |= {(0xF6, 0x66): "adcx", (0xF6, REP): "adox"}
    name = names.get((opcode, prefix))
    found = _modrm(reader, name) if name else None
    if found is not None and found.memory is None and opcode != 0xF6:
        return None  # these take memory only
    return found


def _modrm(reader: _Reader, mnemonic: str) -> Instruction:
    modrm = reader.byte()
    register = modrm >> 3 & 7 | (reader.rex & 4) << 1
    if modrm >= 0xC0:
        return Instruction(mnemonic, register=register, rm=modrm & 7 | (reader.rex & 1) << 3)
    address = _address_16 if reader.address_size == 2 else _address_32
    return Instruction(mnemonic, register=register, memory=address(reader, modrm))


_PAIRS_16 = ((3, 6), (3, 7), (5, 6), (5, 7), (6, None), (7, None), (5, None), (3, None))


def _address_16(reader: _Reader, modrm: int) -> MemoryOperand:
    mod, rm = modrm >> 6, modrm & 7
    base: int | None
    base, index = _PAIRS_16[rm]
    if mod == 0 and rm == 6:
        base, displacement = None, reader.signed(2)
    else:
        displacement = reader.signed(mod) if mod else 0
    segment = reader.segment or ("ss" if base == 5 else "ds")
    return MemoryOperand(segment, base, index, 1, displacement, False, 2)


def _address_32(reader: _Reader, modrm: int) -> MemoryOperand:
    """32- and 64-bit addressing: SIB byte, RIP-relative."""
    mod, rm = modrm >> 6, modrm & 7
    base: int | None = rm | (reader.rex & 1) << 3
    index, scale, relative = None, 1, False
    if rm == 4:
        sib = reader.byte()
        number = sib >> 3 & 7 | (reader.rex & 2) << 2
        index, scale = (None if number == 4 else number), 1 << (sib >> 6)
        base = sib & 7 | (reader.rex & 1) << 3
        rm = sib & 7
        absolute = mod == 0 and rm == 5
    else:
        absolute = mod == 0 and rm == 5
        relative = absolute and reader.mode == 64
    if absolute:
        base, displacement = None, reader.signed(4)
    else:
        displacement = reader.signed(1 if mod == 1 else 4) if mod else 0
    segment = reader.segment or ("ss" if base in (4, 5) else "ds")
    return MemoryOperand(segment, base, index, scale, displacement, relative, reader.address_size)
