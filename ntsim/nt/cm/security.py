"""Security descriptors of keys: the root's, and what keys inherit when they are made.

LocalSystem and Administrators may do everything, others read; each entry is passed on to subkeys.
Source: ReactOS kmtests ntos_cm/CmSecurity.c.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from functools import cache
from types import SimpleNamespace

from ntsim.abi import se as c
from ntsim.nt.se import well_known as w
from ntsim.nt.se.acl import Ace, acl_bytes, descriptor_bytes
from ntsim.nt.se.inheritance import Heir, RawAce, acl_of, inherit

KEY_READ, KEY_WRITE, KEY_ALL_ACCESS = 0x2_0019, 0x2_0006, 0xF_003F
_MAPPING = SimpleNamespace(
    _v=SimpleNamespace(
        GenericRead=KEY_READ, GenericWrite=KEY_WRITE, GenericExecute=KEY_READ,
        GenericAll=KEY_ALL_ACCESS | 0x10_0000,
    )
)  # fmt: skip
_DACL_OFFSET, _HEADER = 0x10, 8


def root_descriptor() -> bytes:
    """The descriptor of \\REGISTRY."""
    allowed = (
        (KEY_ALL_ACCESS, w.SYSTEM), (KEY_ALL_ACCESS, w.ADMINISTRATORS), (KEY_READ, w.WORLD),
        (KEY_READ, w.RESTRICTED),
    )  # fmt: skip
    kind, flags = c.ACCESS_ALLOWED_ACE_TYPE, c.CONTAINER_INHERIT_ACE
    dacl = acl_bytes([Ace(kind, flags, mask, sid) for mask, sid in allowed])
    return descriptor_bytes(w.ADMINISTRATORS, w.SYSTEM, dacl)


def aces_in(descriptor: bytes) -> Iterator[RawAce]:
    """The ACEs of the DACL of a self-relative descriptor."""
    start = int.from_bytes(descriptor[_DACL_OFFSET : _DACL_OFFSET + 4], "little")
    if not start:
        return
    count = int.from_bytes(descriptor[start + 4 : start + 6], "little")
    at = start + _HEADER
    for _ in range(count):
        kind, flags, size, mask = struct.unpack_from("<BBHI", descriptor, at)
        yield RawAce(kind, flags, mask, b"", descriptor[at + 8 : at + size])
        at += size


@cache
def inherited_descriptor(parent: bytes) -> bytes:
    """The descriptor of a new subkey; the root's where nothing is passed on."""
    heir = Heir(bytes(w.ADMINISTRATORS), bytes(w.SYSTEM), _MAPPING, True)
    passed = [made for ace in aces_in(parent) for made in inherit(ace, heir, 0)]
    if not passed:
        return root_descriptor()
    return descriptor_bytes(w.ADMINISTRATORS, w.SYSTEM, acl_of(passed))
