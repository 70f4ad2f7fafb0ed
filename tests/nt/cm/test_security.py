"""Descriptors of keys are the keys', not the handles'. Source: WDK ZwSetSecurityObject; Win32
"Registry Key Security and Access Rights"."""

from ntsim.wdm import *

DACL = 4


def attributes(path):
    made = OBJECT_ATTRIBUTES()
    flags = OBJ_KERNEL_HANDLE | OBJ_CASE_INSENSITIVE
    InitializeObjectAttributes(made, UNICODE_STRING(path), flags, NULL, NULL)
    return made


def key(path):
    return ZwCreateKey(KEY_ALL_ACCESS, attributes(path), 0, NULL, 0, NULL)[1]


def only_system(flags):
    acl = ExAllocatePoolZero(PagedPool, 64, 1)
    made = ExAllocatePoolZero(PagedPool, SECURITY_DESCRIPTOR.size, 1)
    RtlCreateAcl(acl, 64, 2)
    RtlAddAccessAllowedAceEx(acl, 2, flags, KEY_READ, SeExports.SeLocalSystemSid)
    RtlCreateSecurityDescriptor(made, 1)
    RtlSetDaclSecurityDescriptor(made, TRUE, acl, FALSE)
    return made


def entries(handle):
    """(flags, mask) of each ACE of a key's DACL."""
    block = ExAllocatePoolZero(PagedPool, 512, 1)
    assert ZwQuerySecurityObject(handle, DACL, block, 512, ULONG()) == STATUS_SUCCESS
    dacl = int(RtlGetDaclSecurityDescriptor(block, NULL)[2])
    found, at = [], dacl + 8
    for _ in range(cast(dacl, PACL).AceCount):
        data = read_bytes(at, int.from_bytes(read_bytes(at + 2, 2), "little"))
        found.append((data[1], int.from_bytes(data[4:8], "little")))
        at += len(data)
    return found


def test_what_is_set_through_one_handle_is_seen_through_another(value_of) -> None:
    def body():
        first = key("\\Registry\\Machine\\Software\\Mine")
        second = key("\\Registry\\Machine\\Software\\Mine")
        before = len(entries(second))
        status = ZwSetSecurityObject(first, DACL, only_system(CONTAINER_INHERIT_ACE))
        return before, status, entries(second), entries(first)

    passed = [(CONTAINER_INHERIT_ACE, KEY_READ)]
    assert value_of(body) == (4, STATUS_SUCCESS, passed, passed)


def test_a_new_subkey_inherits_and_an_old_one_stays(value_of) -> None:
    def body():
        path = "\\Registry\\Machine\\Software\\Mine"
        mine, old = key(path), key(path + "\\Old")
        ZwSetSecurityObject(mine, DACL, only_system(CONTAINER_INHERIT_ACE))
        new = key(path + "\\New")
        ZwSetSecurityObject(mine, DACL, only_system(0))
        return len(entries(old)), entries(new), len(entries(key(path + "\\Newer")))

    assert value_of(body) == (4, [(CONTAINER_INHERIT_ACE, KEY_READ)], 4)
