"""Inheritance: what the ACEs of a container become in a new object's ACL.

Source: Win32 "ACE Inheritance Rules"; WDK SeAssignSecurityEx; ReactOS kmtests SeInheritance.c.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ntsim.abi import se as c
from ntsim.nt.rtl.acl import aces
from ntsim.nt.rtl.sid import Sid, sid_length
from ntsim.nt.se import well_known as w
from ntsim.nt.se.access_state import map_generic_mask

if TYPE_CHECKING:
    from ntsim.nt.kernel import Kernel

OBJECT, CONTAINER = c.OBJECT_INHERIT_ACE, c.CONTAINER_INHERIT_ACE
NO_PROPAGATE, ONLY, INHERITED = c.NO_PROPAGATE_INHERIT_ACE, c.INHERIT_ONLY_ACE, c.INHERITED_ACE
INHERITANCE = OBJECT | CONTAINER | NO_PROPAGATE | ONLY | INHERITED
"""The flags about inheritance; the others of an audit ACE say what is audited."""

OBJECT_ACES = range(5, 9)
"""ACE types with GUIDs between mask and SID, as ACE_OBJECT_TYPE_PRESENT and its neighbour say."""
_OBJECT_PRESENT, _INHERITED_PRESENT = 1, 2


@dataclass(frozen=True, slots=True)
class Heir:
    """For whom ACEs are made: its owner and group, rights and kind."""

    owner: bytes
    group: bytes
    mapping: Any
    container: bool
    type_guid: bytes = b""


@dataclass(frozen=True, slots=True)
class RawAce:
    """An ACE with a mask: `middle` are the GUIDs of an object ACE, `tail` the SID and the rest."""

    kind: int
    flags: int
    mask: int
    middle: bytes
    tail: bytes

    def __bytes__(self) -> bytes:
        data = self.middle + self.tail
        return struct.pack("<BBHI", self.kind, self.flags, 8 + len(data), self.mask) + data

    @property
    def inherited_guid(self) -> bytes:
        """The only type of object that inherits an object ACE; empty if all do."""
        present = int.from_bytes(self.middle[:4], "little")
        if not present & _INHERITED_PRESENT:
            return b""
        at = 4 + 16 * bool(present & _OBJECT_PRESENT)
        return self.middle[at : at + 16]


def read_aces(nt: Kernel, acl: int) -> Iterator[RawAce]:
    """The ACEs of the ACL at an address."""
    for at, kind, flags, size in aces(nt, acl):
        data = nt.mmu.read(at + 4, size - 4)
        mask, body = int.from_bytes(data[:4], "little"), data[4:]
        split = 0
        if kind in OBJECT_ACES:
            split = 4 + 16 * (body[0] & 3).bit_count()
        yield RawAce(kind, flags, mask, body[:split], body[split:])


def acl_of(entries: Iterable[RawAce], revision: int = c.ACL_REVISION) -> bytes:
    """An ACL as bytes."""
    made = [bytes(ace) for ace in entries]
    body = b"".join(made)
    return struct.pack("<BBHHH", revision, 0, 8 + len(body), len(made), 0) + body


def specific(ace: RawAce, mapping: Any) -> int:
    """The mask with specific rights for generic ones, and none that the object has not got.

    A label's mask is a policy. Source: ReactOS kmtests SeInheritance.c, where GenericAll lacks a
    bit that GenericRead has.
    """
    if ace.kind == c.SYSTEM_MANDATORY_LABEL_ACE_TYPE:
        return ace.mask
    rights = mapping._v.GenericAll | c.ACCESS_SYSTEM_SECURITY
    return map_generic_mask(ace.mask, mapping) & int(rights)


def effective(ace: RawAce, heir: Heir, flags: int) -> RawAce:
    """The ACE as it counts for the heir: own rights for generic ones, itself for the creator."""
    tail = ace.tail
    for creator, own in ((w.CREATOR_OWNER, heir.owner), (w.CREATOR_GROUP, heir.group)):
        sid = bytes(creator)
        if tail.startswith(sid):
            tail = own + tail[len(sid) :]
    return RawAce(ace.kind, flags, specific(ace, heir.mapping), ace.middle, tail)


def mapped(ace: RawAce, mapping: Any) -> RawAce:
    """An explicit ACE: generic rights become specific, unless it is only there to be inherited."""
    if ace.flags & ONLY:
        return ace
    return RawAce(ace.kind, ace.flags, specific(ace, mapping), ace.middle, ace.tail)


def inherit(ace: RawAce, heir: Heir, extra: int) -> list[RawAce]:
    """What one ACE of the parent becomes: nothing, one ACE or two. `extra` are flags to add.

    A container that passes an ACE on has it once, unless it counts differently for itself: then
    one ACE counts and the other is only passed on.
    """
    passes = ace.inherited_guid
    suits = not passes or passes == heir.type_guid
    other = ace.flags & ~INHERITANCE
    if not heir.container:
        return [effective(ace, heir, other | extra)] if ace.flags & OBJECT and suits else []
    onward = 0 if ace.flags & NO_PROPAGATE else ace.flags & (OBJECT | CONTAINER)
    here = [effective(ace, heir, other | extra)] if ace.flags & CONTAINER and suits else []
    if not onward:
        return here
    passed = RawAce(ace.kind, other | extra | onward | ONLY, ace.mask, ace.middle, ace.tail)
    if here and (here[0].mask, here[0].tail) == (passed.mask, passed.tail):
        return [RawAce(ace.kind, passed.flags & ~ONLY, ace.mask, ace.middle, ace.tail)]
    return [*here, passed]


def inherited_aces(nt: Kernel, acl: int, heir: Heir, extra: int) -> list[RawAce]:
    """What the ACL at an address, 0: none, passes on."""
    found = read_aces(nt, acl) if acl else ()
    return [made for ace in found for made in inherit(ace, heir, extra)]


def sid_at(nt: Kernel, at: int) -> bytes:
    """The bytes of a SID; no memory there is an access violation."""
    return nt.mmu.read(at, sid_length(nt, at))


def sid_value(data: bytes) -> Sid:
    """The SID that bytes are."""
    rest = struct.unpack(f"<{len(data) // 4 - 2}I", data[8:])
    return Sid(int.from_bytes(data[2:8], "big"), rest)
