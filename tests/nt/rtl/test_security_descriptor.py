"""SIDs, ACLs and security descriptors.

Source: WDK pages of the routines; statuses that they leave out follow ReactOS lib/rtl/sid.c, acl.c
and sd.c.
"""

from ntsim.wdm import *


def make_sid(*values: int):
    """S-1-5-values."""
    sid = ExAllocatePoolWithTag(NonPagedPoolNx, 8 + 4 * len(values), 1)
    authority = ExAllocatePoolWithTag(NonPagedPoolNx, 6, 1)
    write_bytes(authority, bytes([0, 0, 0, 0, 0, 5]))
    assert RtlInitializeSid(sid, authority, len(values)) == 0
    for i, value in enumerate(values):
        RtlSubAuthoritySid(sid, i)[0] = value
    return sid


def test_a_sid_has_its_length_its_text_and_its_copies(value_of) -> None:
    def body() -> list:
        sid, other = make_sid(32, 544), make_sid(32, 545)
        copy = ExAllocatePoolWithTag(NonPagedPoolNx, 64, 1)
        text = UNICODE_STRING()
        found = [RtlLengthSid(sid), RtlLengthRequiredSid(2), RtlCopySid(15, copy, sid)]
        found += [RtlCopySid(16, copy, sid), RtlEqualSid(copy, sid), RtlEqualSid(other, sid)]
        found += [RtlConvertSidToUnicodeString(text, sid, TRUE), text.Length]
        found += [read_bytes(text.Buffer, text.Length + 2).decode("utf-16-le")]
        RtlFreeUnicodeString(text)
        return found

    assert value_of(body) == [
        16, 16, STATUS_BUFFER_TOO_SMALL, 0, True, False, 0, 24, "S-1-5-32-544\0",
    ]  # fmt: skip


def test_text_without_room_for_its_terminator_overflows(value_of) -> None:
    def body() -> list:
        text, sid = UNICODE_STRING(), make_sid(18)
        text.Buffer, text.MaximumLength = ExAllocatePoolWithTag(NonPagedPoolNx, 64, 1), 16
        first = RtlConvertSidToUnicodeString(text, sid, FALSE)
        text.MaximumLength = 18
        return [first, RtlConvertSidToUnicodeString(text, sid, FALSE), text.Length]

    assert value_of(body) == [STATUS_BUFFER_OVERFLOW, 0, 16]


def test_sixteen_sub_authorities_are_too_many(value_of) -> None:
    def body() -> list:
        sid = ExAllocatePoolWithTag(NonPagedPoolNx, 72, 1)
        status = RtlInitializeSid(sid, sid, 16)
        write_bytes(sid, b"\1\x10")
        first = RtlValidSid(sid)
        write_bytes(sid, b"\1\x0f")
        return [status, first, RtlValidSid(sid)]

    assert value_of(body) == [STATUS_INVALID_PARAMETER, False, True]


def test_an_acl_takes_aces_until_it_is_full(value_of) -> None:
    def body() -> list:
        sid, acl = make_sid(18), cast(ExAllocatePoolWithTag(NonPagedPoolNx, 64, 1), PACL)
        found = [RtlCreateAcl(acl, 7, ACL_REVISION), RtlCreateAcl(acl, 64, 1)]
        found += [RtlCreateAcl(acl, 8 + 20 + 20 + 3, ACL_REVISION), acl.AclSize]
        found += [RtlAddAccessAllowedAce(acl, ACL_REVISION, 0x1F, sid) for _ in range(3)]
        Status, Ace = RtlGetAce(acl, 1)
        found += [Status, Ace - acl, cast(Ace, POINTER(ACCESS_ALLOWED_ACE)).Mask, acl.AceCount]
        return [*found, RtlGetAce(acl, 2)[0], RtlDeleteAce(acl, 0), acl.AceCount]

    full = STATUS_ALLOTTED_SPACE_EXCEEDED
    assert value_of(body) == [
        STATUS_BUFFER_TOO_SMALL, STATUS_INVALID_PARAMETER, 0, 48, 0, 0, full, 0, 28, 0x1F, 2,
        STATUS_INVALID_PARAMETER, 0, 1,
    ]  # fmt: skip


def test_aces_are_inserted_before_the_one_that_is_named(value_of) -> None:
    def body() -> list:
        sid, acl = make_sid(18), cast(ExAllocatePoolWithTag(NonPagedPoolNx, 128, 1), PACL)
        other = cast(ExAllocatePoolWithTag(NonPagedPoolNx, 128, 1), PACL)
        for each in (acl, other):
            RtlCreateAcl(each, 128, ACL_REVISION)
        RtlAddAccessAllowedAce(acl, ACL_REVISION, 1, sid)
        RtlAddAccessAllowedAce(acl, ACL_REVISION, 2, sid)
        RtlAddAccessAllowedAce(other, ACL_REVISION, 3, sid)
        found = [RtlAddAce(acl, ACL_REVISION, 1, other + 8, 20)]
        found += [RtlAddAce(acl, ACL_REVISION, 0xFFFF_FFFF, other + 8, 20)]
        masks = [cast(acl + 8 + 20 * i + 4, PULONG)[0] for i in range(acl.AceCount)]
        return [*found, masks, RtlAddAce(acl, ACL_REVISION, 0, other + 8, 19)]

    assert value_of(body) == [0, 0, [1, 3, 2, 3], STATUS_INVALID_PARAMETER]


def test_a_descriptor_gives_back_what_was_set(value_of) -> None:
    def body() -> list:
        sd, sid = SECURITY_DESCRIPTOR(), make_sid(18)
        acl = cast(ExAllocatePoolWithTag(NonPagedPoolNx, 28, 1), PACL)
        RtlCreateAcl(acl, 28, ACL_REVISION)
        found = [RtlCreateSecurityDescriptor(sd, 2), RtlCreateSecurityDescriptor(sd, 1)]
        owner, is_there, dacl, defaulted = PVOID(), BOOLEAN(), PVOID(), BOOLEAN()
        found += [RtlGetOwnerSecurityDescriptor(sd, owner, NULL), owner[0]]
        dacl[0] = 0x1234
        found += [RtlGetDaclSecurityDescriptor(sd, is_there, dacl, defaulted), is_there[0]]
        found += [dacl[0], RtlSetDaclSecurityDescriptor(sd, TRUE, acl, FALSE), sd.Control]
        RtlGetDaclSecurityDescriptor(sd, is_there, dacl, defaulted)
        found += [is_there[0], dacl[0] == acl, RtlSetOwnerSecurityDescriptor(sd, sid, TRUE)]
        RtlGetOwnerSecurityDescriptor(sd, owner, defaulted)
        return [*found, owner[0] == sid, defaulted[0], RtlValidSecurityDescriptor(sd)]

    assert value_of(body) == [
        STATUS_UNKNOWN_REVISION, 0, 0, 0, 0, 0, 0x1234, 0, SE_DACL_PRESENT, 1, True, 0, True, 1,
        True,
    ]  # fmt: skip


def test_an_absolute_descriptor_becomes_one_block(value_of) -> None:
    def body() -> list:
        sd, sid, length = SECURITY_DESCRIPTOR(), make_sid(18), ULONG()
        acl = cast(ExAllocatePoolWithTag(NonPagedPoolNx, 28, 1), PACL)
        RtlCreateAcl(acl, 28, ACL_REVISION)
        RtlAddAccessAllowedAce(acl, ACL_REVISION, 7, sid)
        RtlCreateSecurityDescriptor(sd, 1)
        RtlSetOwnerSecurityDescriptor(sd, sid, FALSE)
        RtlSetDaclSecurityDescriptor(sd, TRUE, acl, FALSE)
        found = [RtlLengthSecurityDescriptor(sd), RtlAbsoluteToSelfRelativeSD(sd, NULL, length)]
        found += [length[0]]
        block = ExAllocatePoolWithTag(NonPagedPoolNx, length[0], 1)
        found += [RtlAbsoluteToSelfRelativeSD(sd, block, length)]
        found += [RtlLengthSecurityDescriptor(block), RtlValidSecurityDescriptor(block)]
        _, there, dacl = RtlGetDaclSecurityDescriptor(block, NULL)
        found += [there, dacl - block, read_bytes(dacl, 28) == read_bytes(acl, 28)]
        return [*found, RtlSetDaclSecurityDescriptor(block, FALSE, NULL, FALSE)]

    assert value_of(body) == [
        40 + 28 + 12, STATUS_BUFFER_TOO_SMALL, 60, 0, 60, True, 1, 20, True,
        STATUS_INVALID_SECURITY_DESCR,
    ]  # fmt: skip
