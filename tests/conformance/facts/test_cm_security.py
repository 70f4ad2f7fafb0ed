"""Facts of registry keys' security descriptors."""

from __future__ import annotations

from typing import Any

from ntsim.wdm import *

from .fact import KMTESTS, Facts, as_tests

KEYS = Facts(f"{KMTESTS}/ntos_cm/CmSecurity.c")
EVERYTHING, SYSTEM_SECURITY = 0xF, 1 << 24
ALL, READ, CI = KEY_ALL_ACCESS, KEY_READ, CONTAINER_INHERIT_ACE
NAMES = ("LocalSystem", "AliasAdmins", "World", "Restricted")
ENTRIES = [(0, CI, "LocalSystem", ALL), (0, CI, "AliasAdmins", ALL), (0, CI, "World", READ),
           (0, CI, "Restricted", READ)]  # fmt: skip


def sid_at(at: int) -> bytes:
    return read_bytes(at, 8 + 4 * read_bytes(at + 1, 1)[0])


def name_of(sid: bytes) -> str:
    return next(name for name in NAMES if sid_at(int(getattr(SeExports, f"Se{name}Sid"))) == sid)


def open_key(path: str) -> int:
    attributes, handle = OBJECT_ATTRIBUTES(), HANDLE()
    flags = OBJ_KERNEL_HANDLE | OBJ_CASE_INSENSITIVE
    InitializeObjectAttributes(attributes, UNICODE_STRING(path), flags, NULL, NULL)
    status = ZwOpenKey(handle, READ_CONTROL | SYSTEM_SECURITY | WRITE_DAC, attributes)
    assert status == STATUS_SUCCESS, path
    return handle[0]


def security_of(handle: int) -> list[Any]:
    """Owner, group, whether there is a SACL, the DACL's entries."""
    size = ULONG()
    status = ZwQuerySecurityObject(handle, EVERYTHING, NULL, 0, size)
    assert status == STATUS_BUFFER_TOO_SMALL
    block = ExAllocatePoolZero(PagedPool, size[0], 1)
    assert ZwQuerySecurityObject(handle, EVERYTHING, block, size[0], size) == STATUS_SUCCESS
    owner = RtlGetOwnerSecurityDescriptor(block, NULL)[1]
    group = RtlGetGroupSecurityDescriptor(block, NULL)[1]
    present, dacl, _ = BOOLEAN(), PVOID(), BOOLEAN()
    RtlGetSaclSecurityDescriptor(block, present, dacl, BOOLEAN())
    sacl = bool(present[0])
    RtlGetDaclSecurityDescriptor(block, present, dacl, NULL)
    entries, at = [], dacl[0] + 8
    for _ in range(cast(dacl[0], PACL).AceCount):
        data = read_bytes(at, int.from_bytes(read_bytes(at + 2, 2), "little"))
        mask = int.from_bytes(data[4:8], "little")
        entries.append((data[0], data[1], name_of(data[8:]), mask))
        at += len(data)
    return [name_of(sid_at(int(owner))), name_of(sid_at(int(group))), sacl, entries]


PATHS = ["\\REGISTRY", "\\REGISTRY\\MACHINE", "\\REGISTRY\\MACHINE\\HARDWARE", "\\REGISTRY\\USER"]


@KEYS.fact(["AliasAdmins", "LocalSystem", False, ENTRIES], path=PATHS)
def a_key_lets_the_system_and_administrators_do_everything_and_others_read(path: str) -> list[Any]:
    return security_of(open_key(path))


test_fact = as_tests(KEYS)
