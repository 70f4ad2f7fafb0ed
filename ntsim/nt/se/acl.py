"""ACLs and security descriptors as the security manager makes and reads them."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ntsim.abi import se as c
from ntsim.nt.rtl.acl import aces
from ntsim.nt.rtl.sid import Sid, read_sid

if TYPE_CHECKING:
    from ntsim.nt.kernel import Kernel

SID_ACES = (c.ACCESS_ALLOWED_ACE_TYPE, c.ACCESS_DENIED_ACE_TYPE, c.SYSTEM_MANDATORY_LABEL_ACE_TYPE)
"""Types of ACEs that hold a mask and a SID."""


@dataclass(frozen=True, slots=True)
class Ace:
    """An entry of an ACL: type, inheritance flags, mask, whom it is about."""

    kind: int
    flags: int
    mask: int
    sid: Sid

    def __bytes__(self) -> bytes:
        sid = bytes(self.sid)
        return struct.pack("<BBHI", self.kind, self.flags, 8 + len(sid), self.mask) + sid


def acl_bytes(entries: Iterable[Ace]) -> bytes:
    """An ACL of revision 2 that ends with its last ACE."""
    made = [bytes(ace) for ace in entries]
    body = b"".join(made)
    return struct.pack("<BBHHH", c.ACL_REVISION, 0, 8 + len(body), len(made), 0) + body


def read_acl(nt: Kernel, acl: int) -> list[Ace]:
    """The ACEs of the ACL at an address that hold a mask and a SID."""
    found = []
    for at, kind, flags, _ in aces(nt, acl):
        if kind in SID_ACES:
            mask = int.from_bytes(nt.mmu.read(at + 4, 4), "little")
            found.append(Ace(kind, flags, mask, read_sid(nt, at + 8)))
    return found


def descriptor_bytes(
    owner: Sid | None, group: Sid | None, dacl: bytes | None, sacl: bytes | None = None,
    control: int = 0,
) -> bytes:  # fmt: skip
    """A self-relative security descriptor; a DACL of None allows everybody everything."""
    control |= c.SE_SELF_RELATIVE | c.SE_DACL_PRESENT | (c.SE_SACL_PRESENT if sacl else 0)
    parts = [sacl or b"", dacl or b""]
    parts += [bytes(sid) if sid is not None else b"" for sid in (owner, group)]
    at, offsets = 0x14, []
    for part in parts:
        offsets.append(at if part else 0)
        at += len(part)
    order = (offsets[2], offsets[3], offsets[0], offsets[1])
    return struct.pack("<BBHIIII", 1, 0, control, *order) + b"".join(parts)
