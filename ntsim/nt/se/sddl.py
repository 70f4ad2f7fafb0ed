"""Security descriptors as text: the part of SDDL that IoCreateDeviceSecure takes.

`D:P` and ACEs `(type;flags;rights;;;sid)`, before them if wanted an owner `O:` and a group `G:`,
behind them `S:` with a mandatory label. Rights are pairs of letters or a number. Source: WDK "SDDL
for Device Objects"; Win32 "ACE Strings", "SID Strings".
"""

from __future__ import annotations

import re

from ntsim.abi import se as c
from ntsim.nt.rtl.sid import Sid
from ntsim.nt.se import well_known as w
from ntsim.nt.se.acl import Ace, acl_bytes, descriptor_bytes

RIGHTS = {
    "GA": 1 << 28, "GX": 1 << 29, "GW": 1 << 30, "GR": 1 << 31,
    "SD": 0x1_0000, "RC": 0x2_0000, "WD": 0x4_0000, "WO": 0x8_0000,
    "FA": 0x1F_01FF, "FR": 0x12_0089, "FW": 0x12_0116, "FX": 0x12_00A0,
    "CC": 1, "DC": 2, "LC": 4, "SW": 8, "RP": 0x10, "WP": 0x20, "DT": 0x40, "LO": 0x80,
    "CR": 0x100, "NW": 1, "NR": 2, "NX": 4,
}  # fmt: skip
TYPES = {
    "A": c.ACCESS_ALLOWED_ACE_TYPE, "D": c.ACCESS_DENIED_ACE_TYPE,
    "ML": c.SYSTEM_MANDATORY_LABEL_ACE_TYPE,
}  # fmt: skip
FLAGS = {
    "OI": c.OBJECT_INHERIT_ACE, "CI": c.CONTAINER_INHERIT_ACE, "NP": c.NO_PROPAGATE_INHERIT_ACE,
    "IO": c.INHERIT_ONLY_ACE, "ID": c.INHERITED_ACE,
}  # fmt: skip
_PART = re.compile(r"([OGDS]):")
_ACE = re.compile(r"\(([^()]*)\)")
_LIST = re.compile(r"(P|AR|AI)*((?:\([^()]*\))*)$")


class SddlError(ValueError):
    """The text is no security descriptor; says where."""


def parse_sddl(text: str) -> bytes:
    """The self-relative descriptor that a text describes; SddlError if it is none."""
    parts = split_parts(text.strip())
    if "D" not in parts:
        raise SddlError(f"{text!r} has no DACL (D:)")
    dacl, control = parse_acl(parts["D"], ("A", "D"))
    sacl = parse_acl(parts["S"], ("ML",))[0] if "S" in parts else None
    owner = parse_sid(parts["O"]) if "O" in parts else None
    group = parse_sid(parts["G"]) if "G" in parts else None
    return descriptor_bytes(owner, group, dacl, sacl, control)


def split_parts(text: str) -> dict[str, str]:
    """`O:`, `G:`, `D:` and `S:` with what follows each."""
    pieces = _PART.split(text)
    if pieces[0] or len(pieces) < 3:
        raise SddlError(f"{text!r} does not begin with O:, G:, D: or S:")
    letters = pieces[1::2]
    if len(set(letters)) != len(letters):
        raise SddlError(f"{text!r} names a part twice")
    return dict(zip(letters, pieces[2::2], strict=True))


def parse_acl(text: str, types: tuple[str, ...]) -> tuple[bytes, int]:
    """(ACL, control bits) of flags and ACEs."""
    found = _LIST.match(text)
    if found is None:
        raise SddlError(f"{text!r} is no list of (ACE)s")
    protected = text.partition("(")[0].startswith("P")
    entries = [parse_ace(each, types) for each in _ACE.findall(text)]
    return acl_bytes(entries), c.SE_DACL_PROTECTED if protected else 0


def parse_ace(text: str, types: tuple[str, ...]) -> Ace:
    """`A;;GRGW;;;WD`."""
    fields = [field.strip() for field in text.split(";")]
    if len(fields) != 6:
        raise SddlError(f"({text}) has {len(fields)} fields, not six")
    kind, flags, rights, object_type, inherited_type, sid = fields
    if kind not in types or object_type or inherited_type:
        raise SddlError(f"({text}): only the types {', '.join(types)} without GUIDs are known")
    return Ace(TYPES[kind], letters(flags, FLAGS), parse_rights(rights), parse_sid(sid))


def parse_rights(text: str) -> int:
    """`GRGW`, `0x12019f`, or a decimal number."""
    if text[:1].isdigit():
        try:
            return int(text, 0) & 0xFFFF_FFFF
        except ValueError:
            raise SddlError(f"{text!r} is no number") from None
    return letters(text, RIGHTS)


def letters(text: str, table: dict[str, int]) -> int:
    """The bits of a run of two-letter codes."""
    made = 0
    for index in range(0, len(text), 2):
        code = text[index : index + 2]
        if code not in table:
            raise SddlError(f"{code!r} is none of {', '.join(table)}")
        made |= table[code]
    return made


def parse_sid(text: str) -> Sid:
    """`BA` or `S-1-5-32-544`."""
    found = w.sid(w.ALIASES.get(text, text))
    if found is None:
        raise SddlError(f"{text!r} is no SID")
    return found
