"""Security state of one machine: the Token type, the logon sessions' tokens, SeExports."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ntsim.abi.ps import EPROCESS
from ntsim.abi.se import SE_EXPORTS, TOKEN
from ntsim.nt.ob.objects import ObjectType
from ntsim.nt.se import well_known as w
from ntsim.nt.se.acl import Ace, acl_bytes, descriptor_bytes
from ntsim.nt.se.token import (
    administrator_identity,
    sep_create_token,
    sep_delete_token,
    system_identity,
)

if TYPE_CHECKING:
    from ntsim.nt.kernel import Kernel
    from ntsim.nt.ps.process import Process

TOKEN_GENERIC = (0x2_0008, 0x2_00E0, 0x2_0005, 0xF_01FF)
FAST_REFERENCES = 15
"""The low bits of EPROCESS.Token: references that the pointer itself has in store."""


class Se:
    """`exports` is the address of what the variable SeExports points to."""

    def __init__(self, nt: Kernel) -> None:
        self.nt = nt
        self._next_luid = 0x1_0000
        self.token_type = nt.ob.add_type(
            ObjectType("Token", TOKEN_GENERIC, 0xF_01FF, delete=sep_delete_token)
        )
        self.exports = self._make_exports()
        self.device_descriptor = self._public_unrestricted()

    def new_luid(self) -> int:
        """A number that no token of this machine has."""
        self._next_luid += 1
        return self._next_luid

    def _make_exports(self) -> int:
        """SE_EXPORTS, its SIDs behind it."""
        nt = self.nt
        sids = {f"Se{name}Sid": bytes(w.known(text)) for name, text in w.EXPORTED.items()}
        size = SE_EXPORTS.size + sum(map(len, sids.values()))
        address = nt.allocate_pool(size, "SeEx")
        nt.mmu.write(address, bytes(size))
        v = SE_EXPORTS.at(nt.mmu, address)._v
        for name, value in w.LUIDS.items():
            setattr(v, f"Se{name}Privilege_LowPart", value)
        at = address + SE_EXPORTS.size
        for name, data in sids.items():
            nt.mmu.write(at, data)
            setattr(v, name, at)
            at += len(data)
        return address

    def _public_unrestricted(self) -> int:
        """What a device has that nobody gave a descriptor: read, write and execute for everybody.

        Owner is Administrators, who with LocalSystem may do more. Source: WDK "Controlling Device
        Access"; ReactOS ntoskrnl/se/sd.c SePublicDefaultUnrestrictedSd.
        """
        all_rights, rwx = 1 << 28, 0xE000_0000
        dacl = acl_bytes(
            [
                Ace(0, 0, rwx, w.WORLD),
                Ace(0, 0, all_rights, w.SYSTEM),
                Ace(0, 0, all_rights, w.ADMINISTRATORS),
                Ace(0, 0, rwx, w.RESTRICTED),
            ]
        )
        return self.store(descriptor_bytes(w.ADMINISTRATORS, w.SYSTEM, dacl))

    def store(self, descriptor: bytes) -> int:
        """A descriptor in nonpaged pool; 0 if memory is short."""
        address = self.nt.allocate_pool(len(descriptor), "SeSd")
        if address:
            self.nt.mmu.write(address, descriptor)
        return address

    # Tokens of processes

    def give_token(self, process: Process, system: bool) -> None:
        """A new process's primary token: LocalSystem's, or an elevated administrator's."""
        of = system_identity() if system else administrator_identity()
        self.set_primary(process, sep_create_token(self.nt, of))

    def set_primary(self, process: Process, token: Any) -> None:
        """Put a token, whose one reference is given away, into EPROCESS.Token."""
        token._v.TokenInUse = 1
        self.nt.ob.reference(int(token), FAST_REFERENCES)
        process.e._v.Token_Object = int(token) | FAST_REFERENCES

    def drop_primary(self, process: Process) -> None:
        """The process ends: its token goes with the last reference."""
        v = process.e._v
        token, v.Token_Object = v.Token_Object & ~FAST_REFERENCES, 0
        if token:
            for _ in range(FAST_REFERENCES + 1):
                self.nt.ob.dereference(token)

    def primary(self, process_va: int) -> Any:
        """The primary token of a process by its EPROCESS, unreferenced."""
        v = EPROCESS.at(self.nt.mmu, process_va)._v
        return TOKEN.at(self.nt.mmu, v.Token_Object & ~FAST_REFERENCES)
