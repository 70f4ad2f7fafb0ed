"""Security: SIDs, ACLs, security descriptors, privileges.

Layout: winnt.h and ntifs.h, the same on every x64 Windows. Field names are the headers'.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ntsim.abi.scalars import PVOID, UCHAR, ULONG, USHORT
from ntsim.abi.structure import Structure, array, at

if TYPE_CHECKING:
    from ntsim.abi.rtl import LUID

SECURITY_DESCRIPTOR_REVISION = 1
SID_REVISION, SID_MAX_SUB_AUTHORITIES = 1, 15
ACL_REVISION, ACL_REVISION_DS = 2, 4
ACCESS_ALLOWED_ACE_TYPE, ACCESS_DENIED_ACE_TYPE = 0, 1
INHERIT_ONLY_ACE = 8

SE_OWNER_DEFAULTED, SE_GROUP_DEFAULTED = 1, 2
SE_DACL_PRESENT, SE_DACL_DEFAULTED = 4, 8
SE_SACL_PRESENT, SE_SACL_DEFAULTED = 0x10, 0x20
SE_DACL_PROTECTED, SE_SELF_RELATIVE = 0x1000, 0x8000

PRIVILEGE_SET_ALL_NECESSARY = 1
SE_PRIVILEGE_USED_FOR_ACCESS = 0x8000_0000


class SID_IDENTIFIER_AUTHORITY(Structure, size=0x6):
    Value = array("UCHAR", 6, 0x00)


class SID(Structure, size=0xC):
    Revision: UCHAR = at(0x00)
    SubAuthorityCount: UCHAR = at(0x01)
    IdentifierAuthority: SID_IDENTIFIER_AUTHORITY = at(0x02)
    SubAuthority = array("ULONG", 1, 0x08)


class ACL(Structure, size=0x8):
    AclRevision: UCHAR = at(0x00)
    Sbz1: UCHAR = at(0x01)
    AclSize: USHORT = at(0x02)
    AceCount: USHORT = at(0x04)
    Sbz2: USHORT = at(0x06)


class ACE_HEADER(Structure, size=0x4):
    AceType: UCHAR = at(0x00)
    AceFlags: UCHAR = at(0x01)
    AceSize: USHORT = at(0x02)


class ACCESS_ALLOWED_ACE(Structure, size=0xC):
    Header: ACE_HEADER = at(0x00)
    Mask: ULONG = at(0x04)
    SidStart: ULONG = at(0x08)


class SECURITY_DESCRIPTOR(Structure, size=0x28):
    Revision: UCHAR = at(0x00)
    Sbz1: UCHAR = at(0x01)
    Control: USHORT = at(0x02)
    Owner: PVOID = at(0x08)
    Group: PVOID = at(0x10)
    Sacl: PVOID = at(0x18)
    Dacl: PVOID = at(0x20)


class SECURITY_DESCRIPTOR_RELATIVE(Structure, size=0x14):
    Revision: UCHAR = at(0x00)
    Sbz1: UCHAR = at(0x01)
    Control: USHORT = at(0x02)
    Owner: ULONG = at(0x04)
    Group: ULONG = at(0x08)
    Sacl: ULONG = at(0x0C)
    Dacl: ULONG = at(0x10)


class GENERIC_MAPPING(Structure, size=0x10):
    GenericRead: ULONG = at(0x00)
    GenericWrite: ULONG = at(0x04)
    GenericExecute: ULONG = at(0x08)
    GenericAll: ULONG = at(0x0C)


class LUID_AND_ATTRIBUTES(Structure, size=0xC):
    Luid: LUID = at(0x00)
    Attributes: ULONG = at(0x08)


class PRIVILEGE_SET(Structure, size=0x14):
    PrivilegeCount: ULONG = at(0x00)
    Control: ULONG = at(0x04)
    Privilege = array("LUID_AND_ATTRIBUTES", 1, 0x08)


if TYPE_CHECKING:
    PACL = ACL
    PGENERIC_MAPPING = GENERIC_MAPPING
    PPRIVILEGE_SET = PRIVILEGE_SET
