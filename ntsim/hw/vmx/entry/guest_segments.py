"""Checks on guest segment registers and descriptor-table registers."""

from typing import NamedTuple

from ntsim.abi import vmx_constants as abi
from ntsim.hw.vmx.entry.candidate import Candidate, Section, Violations

_SEGMENTS = Section("Checks on Guest Segment Registers")
_TABLES = Section("Checks on Guest Descriptor-Table Registers")
_AR_RESERVED = 0xFFFE_0F00
_CODE, _READABLE, _ACCESSED = 1 << 3, 1 << 1, 1 << 0
_V86_LIMIT, _V86_RIGHTS = 0xFFFF, 0xF3


class Fields(NamedTuple):
    """The encodings of one segment register's four fields."""

    name: str
    selector: int
    base: int
    limit: int
    rights: int


def fields_of(name: str) -> Fields:
    """ES, CS, SS, DS, FS, GS, LDTR or TR of the guest."""
    parts = ("SELECTOR", "BASE", "LIMIT", "AR_BYTES")
    return Fields(name, *(getattr(abi, f"GUEST_{name}_{part}") for part in parts))


ES, CS, SS, DS, FS, GS, LDTR, TR = map(
    fields_of, ("ES", "CS", "SS", "DS", "FS", "GS", "LDTR", "TR")
)
_ORDINARY = (CS, SS, DS, ES, FS, GS)
_DATA = (DS, ES, FS, GS)


def usable(c: Candidate, segment: Fields) -> bool:
    """Whether the "unusable" bit is clear."""
    return not c.get(segment.rights) & abi.ACCESS_RIGHTS_UNUSABLE


def dpl(c: Candidate, segment: Fields) -> int:
    """Descriptor privilege level."""
    return c.get(segment.rights) >> 5 & 3


def selectors(c: Candidate) -> Violations:
    """TR and a usable LDTR come from the GDT; SS and CS agree on RPL."""
    if c.get(TR.selector) & 4:
        yield _SEGMENTS.violation(c, TR.selector, "a TSS is in the GDT", "bit 2 (TI) clear")
    if usable(c, LDTR) and c.get(LDTR.selector) & 4:
        yield _SEGMENTS.violation(c, LDTR.selector, "an LDT is in the GDT", "bit 2 (TI) clear")
    if c.virtual_8086 or c.unrestricted:
        return
    rpl = c.get(CS.selector) & 3
    if c.get(SS.selector) & 3 != rpl:
        yield _SEGMENTS.violation(c, SS.selector, "SS and CS have the same RPL", f"RPL {rpl}")


def bases(c: Candidate) -> Violations:
    """Bases are canonical where they have 64 bits and fit 32 bits elsewhere."""
    if c.virtual_8086:
        for segment in _ORDINARY:
            expected = c.get(segment.selector) << 4
            if c.get(segment.base) != expected:
                yield _SEGMENTS.violation(
                    c, segment.base, "virtual-8086: base is selector * 16", f"{expected:#x}"
                )
    yield from _SEGMENTS.canonical(c, (TR.base, FS.base, GS.base))
    if usable(c, LDTR):
        yield from _SEGMENTS.canonical(c, (LDTR.base,))
    for segment in (CS, SS, DS, ES):
        if segment is CS or usable(c, segment):
            yield from _SEGMENTS.zero(
                c, segment.base, ~0xFFFF_FFFF, f"the base of {segment.name} has 32 bits"
            )


def limits_and_rights(c: Candidate) -> Violations:
    """Limits and access rights, for virtual-8086 mode or for every other mode."""
    if c.virtual_8086:
        yield from _virtual_8086(c)
        return
    yield from _code_segment(c)
    if usable(c, SS):
        yield from _stack_segment(c)
    yield from _privilege_of_stack(c)
    for segment in _DATA:
        if usable(c, segment):
            yield from _data_segment(c, segment)


def _virtual_8086(c: Candidate) -> Violations:
    for segment in _ORDINARY:
        for field, value in ((segment.limit, _V86_LIMIT), (segment.rights, _V86_RIGHTS)):
            if c.get(field) != value:
                yield _SEGMENTS.violation(c, field, "virtual-8086 mode fixes it", f"{value:#x}")


def _code_segment(c: Candidate) -> Violations:
    rights = c.get(CS.rights)
    kind, level, stack_level = rights & 0xF, dpl(c, CS), dpl(c, SS)
    if kind not in (9, 11, 13, 15) and not (kind == 3 and c.unrestricted):
        yield _SEGMENTS.violation(
            c, CS.rights, "not an accessed code segment", "type 9, 11, 13 or 15"
        )
    if kind == 3 and level:
        yield _SEGMENTS.violation(c, CS.rights, "a data segment as CS is ring 0's", "DPL 0")
    if kind in (9, 11) and level != stack_level:
        yield _SEGMENTS.violation(
            c, CS.rights, "non-conforming code runs at the DPL of SS", f"DPL {stack_level}"
        )
    if kind in (13, 15) and level > stack_level:
        yield _SEGMENTS.violation(
            c, CS.rights, "conforming code is at least as privileged as SS", f"DPL <= {stack_level}"
        )
    yield from _common_rights(c, CS)
    if c.ia32e_guest and rights & abi.ACCESS_RIGHTS_L and rights & abi.ACCESS_RIGHTS_DB:
        yield _SEGMENTS.violation(c, CS.rights, "64-bit code has D/B clear", "bit 14 clear")


def _stack_segment(c: Candidate) -> Violations:
    if c.get(SS.rights) & 0xF not in (3, 7):
        yield _SEGMENTS.violation(c, SS.rights, "not an accessed writable segment", "type 3 or 7")
    yield from _common_rights(c, SS)


def _privilege_of_stack(c: Candidate) -> Violations:
    """These hold for an unusable SS too: its DPL is the CPL."""
    rpl = c.get(SS.selector) & 3
    if not c.unrestricted and dpl(c, SS) != rpl:
        yield _SEGMENTS.violation(
            c, SS.rights, "the DPL of SS is the RPL of its selector", f"DPL {rpl}"
        )
    flat = c.get(CS.rights) & 0xF == 3 or not c.get(abi.GUEST_CR0) & abi.CR0_PE
    if flat and dpl(c, SS):
        yield _SEGMENTS.violation(c, SS.rights, "real-address mode runs in ring 0", "DPL 0")


def _data_segment(c: Candidate, segment: Fields) -> Violations:
    rights = c.get(segment.rights)
    kind = rights & 0xF
    if not kind & _ACCESSED:
        yield _SEGMENTS.violation(c, segment.rights, "the segment is not accessed", "bit 0 set")
    if kind & _CODE and not kind & _READABLE:
        yield _SEGMENTS.violation(
            c, segment.rights, "a code segment here has to be readable", "bit 1 set"
        )
    rpl = c.get(segment.selector) & 3
    if kind <= 11 and not c.unrestricted and dpl(c, segment) < rpl:
        yield _SEGMENTS.violation(
            c, segment.rights, "the segment is more privileged than its selector", f"DPL >= {rpl}"
        )
    yield from _common_rights(c, segment)


def _common_rights(c: Candidate, segment: Fields) -> Violations:
    """S, P, reserved bits, granularity of a code or data segment."""
    if not c.get(segment.rights) & abi.ACCESS_RIGHTS_S:
        yield _SEGMENTS.violation(c, segment.rights, "a system segment", "bit 4 (S) set")
    yield from _present_and_sized(c, segment)


def _present_and_sized(c: Candidate, segment: Fields) -> Violations:
    rights, limit = c.get(segment.rights), c.get(segment.limit)
    if not rights & abi.ACCESS_RIGHTS_P:
        yield _SEGMENTS.violation(c, segment.rights, "the segment is absent", "bit 7 (P) set")
    yield from _SEGMENTS.zero(c, segment.rights, _AR_RESERVED, "reserved bits are set")
    if limit & 0xFFF != 0xFFF and rights & abi.ACCESS_RIGHTS_G:
        yield _SEGMENTS.violation(
            c, segment.rights, f"limit {limit:#x} is not a whole number of pages", "G clear"
        )
    if limit >> 20 and not rights & abi.ACCESS_RIGHTS_G:
        yield _SEGMENTS.violation(
            c, segment.rights, f"limit {limit:#x} needs page granularity", "bit 15 (G) set"
        )


def task_register(c: Candidate) -> Violations:
    """TR is a busy TSS, of the 64-bit kind in IA-32e mode."""
    rights = c.get(TR.rights)
    kinds = (11,) if c.ia32e_guest else (3, 11)
    if rights & 0xF not in kinds:
        names = " or ".join(map(str, kinds))
        yield _SEGMENTS.violation(c, TR.rights, "not a busy TSS of this mode", f"type {names}")
    if rights & abi.ACCESS_RIGHTS_S:
        yield _SEGMENTS.violation(c, TR.rights, "a TSS is a system segment", "bit 4 (S) clear")
    yield from _present_and_sized(c, TR)
    if rights & abi.ACCESS_RIGHTS_UNUSABLE:
        yield _SEGMENTS.violation(c, TR.rights, "TR is always usable", "bit 16 clear")


def local_descriptor_table(c: Candidate) -> Violations:
    """A usable LDTR is an LDT."""
    if not usable(c, LDTR):
        return
    rights = c.get(LDTR.rights)
    if rights & 0xF != 2:
        yield _SEGMENTS.violation(c, LDTR.rights, "not an LDT", "type 2, or unusable")
    if rights & abi.ACCESS_RIGHTS_S:
        yield _SEGMENTS.violation(c, LDTR.rights, "an LDT is a system segment", "bit 4 (S) clear")
    yield from _present_and_sized(c, LDTR)


def descriptor_tables(c: Candidate) -> Violations:
    """GDTR and IDTR: canonical bases, 16-bit limits."""
    yield from _TABLES.canonical(c, (abi.GUEST_GDTR_BASE, abi.GUEST_IDTR_BASE))
    for field in (abi.GUEST_GDTR_LIMIT, abi.GUEST_IDTR_LIMIT):
        yield from _TABLES.zero(c, field, 0xFFFF_0000, "a limit has 16 bits")


CHECKS = (
    selectors,
    bases,
    limits_and_rights,
    task_register,
    local_descriptor_table,
    descriptor_tables,
)
