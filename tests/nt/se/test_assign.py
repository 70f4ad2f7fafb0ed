"""SeAssignSecurityEx with automatic inheritance, and what a subject may give itself.

Source: WDK SeAssignSecurityEx, "Assignment Notes". The kernel test suite's cases are facts.
"""

import pytest

from ntsim.wdm import *

OI, CI, INHERITED = OBJECT_INHERIT_ACE, CONTAINER_INHERIT_ACE, INHERITED_ACE


def sid_of(name):
    at = int(getattr(SeExports, f"Se{name}Sid"))
    return read_bytes(at, 8 + 4 * read_bytes(at + 1, 1)[0])


def new_acl(*entries, revision=2):
    body = b"".join(
        bytes([kind, flags]) + (8 + len(rest)).to_bytes(2, "little")
        + mask.to_bytes(4, "little") + rest
        for kind, flags, mask, rest in entries
    )  # fmt: skip
    at = ExAllocatePoolZero(PagedPool, 8 + len(body), 1)
    head = bytes([revision, 0]) + (8 + len(body)).to_bytes(2, "little")
    write_bytes(at, head + len(entries).to_bytes(2, "little") + bytes(2) + body)
    return at


def descriptor(acl, defaulted=0, control=0, owner=NULL):
    made = cast(ExAllocatePoolZero(PagedPool, SECURITY_DESCRIPTOR.size, 1), PSECURITY_DESCRIPTOR)
    RtlCreateSecurityDescriptor(made, 1)
    RtlSetDaclSecurityDescriptor(made, TRUE, acl, defaulted)
    if owner:
        RtlSetOwnerSecurityDescriptor(made, owner, FALSE)
    made.Control |= control
    return made


def assign(parent, explicit, flags, container=FALSE, guid=NULL):
    """(status, control, [(flags, mask, SID)])"""
    context, mapping, new = SECURITY_SUBJECT_CONTEXT(), GENERIC_MAPPING(), PVOID()
    mapping.GenericAll = 0x1FFFFF
    SeCaptureSubjectContext(context)
    rest = (context, mapping, PagedPool)
    status = SeAssignSecurityEx(parent, explicit, new, guid, container, flags, *rest)
    SeReleaseSubjectContext(context)
    if status:
        return status, 0, []
    control = cast(new[0], PSECURITY_DESCRIPTOR).Control
    acl = RtlGetDaclSecurityDescriptor(new[0], NULL)[2]
    found, at = [], int(acl) + 8
    if not acl:
        return status, control, found
    for _ in range(cast(acl, PACL).AceCount):
        data = read_bytes(at, int.from_bytes(read_bytes(at + 2, 2), "little"))
        found.append((data[1], int.from_bytes(data[4:8], "little"), data[8:]))
        at += len(data)
    SeDeassignSecurity(new)
    return status, control, found


def test_automatic_inheritance_appends_the_parents_aces_and_marks_them(value_of) -> None:
    def body():
        world, system = sid_of("World"), sid_of("LocalSystem")
        parent = descriptor(new_acl((0, OI | CI, 1, world)))
        own = descriptor(new_acl((0, 0, 2, system), (0, INHERITED, 4, world)))
        status, control, found = assign(parent, own, SEF_DACL_AUTO_INHERIT)
        return status, control, found == [(0, 2, system), (INHERITED, 1, world)]

    assert value_of(body) == (
        STATUS_SUCCESS,
        SE_SELF_RELATIVE | SE_DACL_PRESENT | SE_DACL_AUTO_INHERITED,
        True,
    )


def test_a_protected_dacl_takes_nothing_from_the_parent(value_of) -> None:
    def body():
        world, system = sid_of("World"), sid_of("LocalSystem")
        parent = descriptor(new_acl((0, OI, 1, world)))
        own = descriptor(new_acl((0, 0, 2, system)), control=SE_DACL_PROTECTED)
        _, control, found = assign(parent, own, SEF_DACL_AUTO_INHERIT)
        return bool(control & SE_DACL_PROTECTED), found == [(0, 2, system)]

    assert value_of(body) == (True, True)


def test_the_default_descriptor_of_a_type_gives_way_to_inherited_aces(value_of) -> None:
    def body():
        world, system = sid_of("World"), sid_of("LocalSystem")
        own = descriptor(new_acl((0, 0, 2, system)))
        flags = SEF_DACL_AUTO_INHERIT | SEF_DEFAULT_DESCRIPTOR_FOR_OBJECT
        with_ = assign(descriptor(new_acl((0, OI, 1, world))), own, flags)[2]
        without = assign(descriptor(new_acl((0, 0, 1, world))), own, flags)[2]
        return with_ == [(INHERITED, 1, world)], without == [(0, 2, system)]

    assert value_of(body) == (True, True)


def test_an_object_ace_is_inherited_by_objects_of_its_type_alone(value_of) -> None:
    def body():
        world = sid_of("World")
        ours, theirs = bytes(range(16)), bytes(16)
        guid = GUID()
        write_bytes(int(guid), ours)
        seen = []
        for which in (ours, theirs):
            middle = (2).to_bytes(4, "little") + which
            parent = descriptor(new_acl((5, OI, 1, middle + world), revision=4))
            found = assign(parent, NULL, 0, guid=guid)[2]
            seen.append(found == [(0, 1, middle + world)])
        return seen

    assert value_of(body) == [True, False]


@pytest.mark.parametrize(("flags", "done"), [(0, False), (SEF_AVOID_OWNER_CHECK, True)])
def test_an_owner_that_the_subject_is_not_is_refused(value_of, flags: int, done: bool) -> None:
    def body():
        context = SECURITY_SUBJECT_CONTEXT()
        SeCaptureSubjectContext(context)
        token = cast(context.PrimaryToken, PTOKEN)
        token.Privileges.Enabled = 0  # LocalSystem may restore, and with that give any owner
        own = descriptor(0, owner=SeExports.SeWorldSid)
        return assign(NULL, own, flags)[0], assign(NULL, descriptor(0), flags)[0]

    world = STATUS_SUCCESS if done else STATUS_INVALID_OWNER
    assert value_of(body) == (world, STATUS_SUCCESS)
