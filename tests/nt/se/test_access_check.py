"""What a descriptor grants whom.

Source: WDK SeAccessCheck; Windows Internals 7, part 1, chapter 7, "Determining access"; Win32 "How
DACLs Control Access to an Object", "Order of ACEs in a DACL", "Mandatory Integrity Control";
ReactOS ntoskrnl/se/accesschk.c for the statuses.
"""

import pytest

from ntsim.nt.se.sddl import SddlError, parse_sddl
from ntsim.wdm import *

FILE = (0x12_0089, 0x12_0116, 0x12_00A0, 0x1F_01FF)
MAXIMUM = 1 << 25


def check(sddl: str | None, desired: int, *, user: bool = False, mode: int = 1, before: int = 0):
    """[allowed, granted, status] for the System token, or for a standard user's."""
    mapping = GENERIC_MAPPING()
    mapping.GenericRead, mapping.GenericWrite = FILE[:2]
    mapping.GenericExecute, mapping.GenericAll = FILE[2:]
    descriptor = 0
    if sddl is not None:
        data = parse_sddl(sddl)
        descriptor = ExAllocatePoolWithTag(NonPagedPoolNx, len(data), 1)
        write_bytes(descriptor, data)
    if user:
        token = PsReferencePrimaryToken(PsGetCurrentProcess())
        _, lua = SeFilterToken(token, LUA_TOKEN, 0, 0, 0)
        PsImpersonateClient(PsGetCurrentThread(), lua, FALSE, FALSE, SecurityImpersonation)
    context = SECURITY_SUBJECT_CONTEXT()
    SeCaptureSubjectContext(context)
    allowed, granted, status = SeAccessCheck(
        descriptor, context, FALSE, desired, before, NULL, mapping, mode
    )
    SeReleaseSubjectContext(context)
    PsRevertToSelf()
    return [allowed, hex(granted), status]


DENIED = [False, "0x0", STATUS_ACCESS_DENIED]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("D:P(A;;GR;;;WD)", 1), [True, "0x1", 0]),
        (("D:P(A;;GR;;;WD)", 2), DENIED),
        (("D:P", 1), DENIED),
        ((None, 1), DENIED),
        (("D:P(A;;GR;;;SY)(A;;GW;;;WD)", 3), [True, "0x3", 0]),
        (("D:P(D;;GW;;;WD)(A;;GA;;;SY)", 2), DENIED),
        (("D:P(A;;GA;;;SY)(D;;GW;;;WD)", 2), [True, "0x2", 0]),
        (("D:P(A;IO;GA;;;WD)", 1), DENIED),
        (("D:P(A;;GR;;;WD)", MAXIMUM), [True, hex(FILE[0]), 0]),
        (("D:P(D;;0x1;;;WD)(A;;GR;;;SY)", MAXIMUM), [True, hex(FILE[0] & ~1), 0]),
        (("D:P(A;;GR;;;WD)", MAXIMUM | 2), DENIED),
        (("O:SYD:P", 0x2_0000), [True, "0x20000", 0]),
        (("O:SYD:P(A;;RC;;;OW)", 0x4_0000), DENIED),
        (("D:P(A;;GR;;;WD)", 0), DENIED),
        (("D:P(A;;GR;;;WD)", 1 << 24), [False, "0x0", STATUS_PRIVILEGE_NOT_HELD]),
        (("D:P(A;;GR;;;S-1-5-32-544)", 1), [True, "0x1", 0]),
    ],
)
def test_what_localsystem_is_granted(value_of, arguments, expected) -> None:
    assert value_of(lambda: check(*arguments)) == expected


def test_kernel_mode_gets_what_it_wants(value_of) -> None:
    assert value_of(lambda: check("D:P", 2, mode=0)) == [True, "0x2", 0]
    everything = value_of(lambda: check("D:P", MAXIMUM | 1 << 24, mode=0))
    assert everything == [True, hex(FILE[3] | 1 << 24), 0]


def test_rights_granted_before_need_no_second_check(value_of) -> None:
    assert value_of(lambda: check("D:P", 1, before=1)) == [True, "0x1", 0]
    assert value_of(lambda: check("D:P", 0, before=2)) == [True, "0x2", 0]


@pytest.mark.parametrize(
    ("sddl", "desired", "allowed"),
    [
        ("D:P(A;;GA;;;BA)", 1, False),
        ("D:P(D;;GA;;;BA)(A;;GA;;;WD)", 1, False),
        ("D:P(A;;GA;;;WD)", 3, True),
        ("D:P(A;;GA;;;WD)S:(ML;;NW;;;HI)", 2, False),
        ("D:P(A;;GA;;;WD)S:(ML;;NW;;;HI)", 1, True),
        ("D:P(A;;GA;;;WD)S:(ML;;NWNR;;;HI)", 1, False),
        ("D:P(A;;GA;;;WD)S:(ML;;NW;;;LW)", 2, True),
    ],
)
def test_a_filtered_administrator_is_only_denied_by_its_groups_and_writes_no_higher(
    value_of, sddl: str, desired: int, allowed: bool
) -> None:
    assert value_of(lambda: check(sddl, desired, user=True))[0] is allowed


def test_identification_is_a_bad_level(value_of) -> None:
    def body() -> list:
        token = PsReferencePrimaryToken(PsGetCurrentProcess())
        PsImpersonateClient(PsGetCurrentThread(), token, FALSE, FALSE, SecurityIdentification)
        return check("D:P(A;;GA;;;WD)", 1)

    assert value_of(body) == [False, "0x0", STATUS_BAD_IMPERSONATION_LEVEL]


def test_a_privilege_that_was_needed_is_returned(value_of) -> None:
    def body() -> list:
        data = parse_sddl("D:P(A;;GR;;;WD)")
        descriptor = ExAllocatePoolWithTag(NonPagedPoolNx, len(data), 1)
        write_bytes(descriptor, data)
        token = cast(PsReferencePrimaryToken(PsGetCurrentProcess()), TOKEN)
        token.Privileges.Enabled |= 1 << SE_SECURITY_PRIVILEGE
        context, mapping = SECURITY_SUBJECT_CONTEXT(), GENERIC_MAPPING()
        SeCaptureSubjectContext(context)
        used = ExAllocatePoolWithTag(NonPagedPoolNx, 8, 1)
        allowed, granted, _ = SeAccessCheck(
            descriptor, context, FALSE, 1 << 24, 0, used, mapping, UserMode
        )
        found = cast(cast(used, PULONGLONG)[0], PRIVILEGE_SET)
        entry = found.Privilege[0]
        result = [allowed, hex(granted), found.PrivilegeCount, entry.Luid.LowPart]
        SeFreePrivileges(found)
        SeReleaseSubjectContext(context)
        return result

    assert value_of(body) == [True, "0x1000000", 1, SE_SECURITY_PRIVILEGE]


def test_generic_rights_become_the_types_own(value_of) -> None:
    def body() -> int:
        mapping, mask = GENERIC_MAPPING(), cast(ExAllocatePoolWithTag(NonPagedPoolNx, 8, 1), PULONG)
        mapping.GenericRead, mapping.GenericWrite = 0x11, 0x22
        mask[0] = 1 << 31 | 1 << 30 | 4
        RtlMapGenericMask(mask, mapping)
        return mask[0]

    assert value_of(body) == 0x37


# SDDL


@pytest.mark.parametrize(
    "text",
    [
        "", "A;;GA;;;SY", "D:P(A;;GA;;;XX)", "D:P(A;;GQ;;;SY)", "D:P(A;;GA;;SY)", "D:P(A;;GA;;;SY",
        "D:P(Z;;GA;;;SY)", "O:SY", "D:PD:P", "D:P(A;;0xZZ;;;SY)", "D:P(A;;GA;;;S-1-5-x)",
    ],
)  # fmt: skip
def test_what_is_no_sddl_says_why(text: str) -> None:
    with pytest.raises(SddlError):
        parse_sddl(text)


def test_sddl_becomes_the_bytes_of_a_descriptor() -> None:
    data = parse_sddl("D:P(A;;GA;;;SY)(A;;GRGX;;;BA)")
    assert data[:4] == bytes([1, 0]) + (SE_SELF_RELATIVE | SE_DACL_PRESENT | 0x1000).to_bytes(
        2, "little"
    )
    assert data[4:20] == bytes(12) + (0x14).to_bytes(4, "little")
    acl = data[0x14:]
    assert acl[:8].hex() == "0200340002000000"
    assert acl[8:28].hex() == "00001400" + "00000010" + "010100000000000512000000"
    assert acl[28:].hex() == "00001800" + "000000a0" + "01020000000000052000000020020000"


def test_a_valid_descriptor_fits_its_length(value_of) -> None:
    def body() -> list:
        data = parse_sddl("O:SYG:SYD:P(A;;GA;;;SY)")
        block = ExAllocatePoolWithTag(NonPagedPoolNx, len(data), 1)
        write_bytes(block, data)
        sizes = (len(data), 0x14, 0x13)
        return [SeValidSecurityDescriptor(size, block) for size in sizes]

    assert value_of(body) == [True, False, False]
