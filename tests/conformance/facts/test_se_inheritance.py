"""Facts of new objects' security descriptors: what is explicit, inherited, the default."""

from __future__ import annotations

from itertools import product
from typing import Any

from ntsim.wdm import *

from .fact import KMTESTS, Facts, as_tests, raised

ASSIGN = Facts(f"{KMTESTS}/ntos_se/SeInheritance.c")
INVALID = 0xFFFF_FFFF_FFFF_0000
OI, CI, NP, IO = (
    OBJECT_INHERIT_ACE, CONTAINER_INHERIT_ACE, NO_PROPAGATE_INHERIT_ACE, INHERIT_ONLY_ACE,
)  # fmt: skip
AUDIT = SUCCESSFUL_ACCESS_ACE_FLAG | FAILED_ACCESS_ACE_FLAG
READ_CONTROL_, SYNCHRONIZE_, STANDARD_ALL = 0x20000, 0x100000, 0x1F0000

Entry = tuple[int, int, str, int]
"""Type, flags, SID, mask."""
DEFAULT: list[Entry] = [
    (0, 0, "LocalSystem", STANDARD_ALL | 0x800F), (0, 0, "AliasAdmins", READ_CONTROL_ | 5),
]  # fmt: skip
WORLD_READS: Entry = (0, 0, "World", READ_CONTROL_)


def sid_of(name: str) -> bytes:
    at = getattr(SeExports, f"Se{name}Sid")
    return read_bytes(int(at), 8 + 4 * read_bytes(int(at) + 1, 1)[0])


def name_of(sid: bytes) -> str:
    names = ("World", "LocalSystem", "AliasAdmins", "CreatorOwner", "CreatorGroup")
    return next(name for name in names if sid_of(name) == sid)


def new_acl(*entries: Entry) -> int:
    """An ACL in pool."""
    body = b"".join(
        bytes([kind, flags]) + (8 + len(sid_of(sid))).to_bytes(2, "little")
        + mask.to_bytes(4, "little") + sid_of(sid)
        for kind, flags, sid, mask in entries
    )  # fmt: skip
    at = ExAllocatePoolZero(PagedPool, 8 + len(body), 1)
    head = bytes([2, 0]) + (8 + len(body)).to_bytes(2, "little")
    write_bytes(at, head + len(entries).to_bytes(2, "little") + bytes(2) + body)
    return int(at)


def entries_at(acl: int) -> list[Entry]:
    found, at = [], acl + 8
    for _ in range(int.from_bytes(read_bytes(acl + 4, 2), "little")):
        data = read_bytes(at, int.from_bytes(read_bytes(at + 2, 2), "little"))
        mask = int.from_bytes(data[4:8], "little")
        found.append((data[0], data[1], name_of(data[8:]), mask))
        at += len(data)
    return found


def descriptor(dacl: int | None = None, defaulted: int = 0, sacl: int | None = None) -> Any:
    """An absolute descriptor; an ACL of None is not present."""
    made = cast(ExAllocatePoolZero(PagedPool, SECURITY_DESCRIPTOR.size, 1), PSECURITY_DESCRIPTOR)
    RtlCreateSecurityDescriptor(made, SECURITY_DESCRIPTOR_REVISION)
    if dacl is not None:
        RtlSetDaclSecurityDescriptor(made, TRUE, dacl, defaulted)
    if sacl is not None:
        RtlSetSaclSecurityDescriptor(made, TRUE, sacl, defaulted)
    return made


def mapping() -> Any:
    made = GENERIC_MAPPING()
    made.GenericRead, made.GenericWrite = 0x21001, 0x22002
    made.GenericExecute, made.GenericAll = 0x24004, 0x1F800F
    return made


def subject() -> Any:
    context = SECURITY_SUBJECT_CONTEXT()
    SeCaptureSubjectContext(context)
    return context


def read_back(at: int) -> list[Any]:
    """DACL and SACL (None: not present, "NULL"), owner, group; nothing may be marked default."""
    acls: list[Any] = []
    for get in (RtlGetDaclSecurityDescriptor, RtlGetSaclSecurityDescriptor):
        present, acl, defaulted = BOOLEAN(), PVOID(), BOOLEAN()
        assert get(at, present, acl, defaulted) == STATUS_SUCCESS
        assert not present[0] or not defaulted[0]
        acls.append((entries_at(acl[0]) if acl[0] else "NULL") if present[0] else None)
    names = []
    for get in (RtlGetOwnerSecurityDescriptor, RtlGetGroupSecurityDescriptor):
        sid, defaulted = PVOID(), BOOLEAN()
        assert get(at, sid, defaulted) == STATUS_SUCCESS and not defaulted[0]
        names.append(name_of(read_bytes(sid[0], 8 + 4 * read_bytes(sid[0] + 1, 1)[0])))
    return [*acls, *names]


def assign(parent: Any, explicit: Any, container: int, context: Any, rights: Any) -> list[Any]:
    new = PVOID()
    arguments = (container, context, rights, PagedPool)
    status = SeAssignSecurity(parent, explicit, new, *arguments)
    assert status == STATUS_SUCCESS, hex(status)
    found = read_back(new[0])
    assert (SeDeassignSecurity(new), new[0]) == (STATUS_SUCCESS, 0)
    return found


SystemOwns = ["AliasAdmins", "LocalSystem"]
EVERY_WAY = list(product((0, 1), repeat=3))
"""(is a container, has a parent, has an explicit descriptor)."""


def every_way(parent: Any, explicit: Any) -> list[Any]:
    """The DACL each way; SACL, owner and group are what they always are."""
    context, rights, found = subject(), mapping(), []
    for container, with_parent, with_explicit in EVERY_WAY:
        above, own = parent if with_parent else NULL, explicit if with_explicit else NULL
        dacl, *rest = assign(above, own, container, context, rights)
        assert rest == [None, *SystemOwns]
        found.append(dacl)
    SeReleaseSubjectContext(context)
    return found


def by_explicit(dacl: Any) -> list[Any]:
    """The explicit DACL if there is one, else the token's default."""
    return [dacl if way[2] else DEFAULT for way in EVERY_WAY]


@ASSIGN.fact([DEFAULT] * 8)
def without_dacls_the_tokens_default_counts_with_its_rights_mapped() -> list[Any]:
    return every_way(descriptor(), descriptor())


@ASSIGN.fact(by_explicit("NULL"), defaulted=[0, 1])
def an_explicit_null_dacl_stays_null_and_a_parents_passes_nothing_on(defaulted: int) -> list[Any]:
    return every_way(descriptor(0, defaulted), descriptor(0, defaulted))


@ASSIGN.fact(by_explicit([]), defaulted=[0, 1])
def an_explicit_empty_dacl_stays_empty_and_a_parents_passes_nothing_on(defaulted: int) -> list[Any]:
    return every_way(descriptor(new_acl(), defaulted), descriptor(new_acl(), defaulted))


@ASSIGN.fact(by_explicit([WORLD_READS]), parent=[0, 1], own=[0, 1])
def an_ace_without_flags_is_explicit_and_not_inherited(parent: int, own: int) -> list[Any]:
    acl = new_acl(WORLD_READS)
    return every_way(descriptor(acl, parent), descriptor(acl, own))


def child_of(flags: int, container: int) -> list[Entry] | None:
    """What an ACE that lets everybody read becomes; None: nothing is inherited."""
    if not container:
        return [(0, 0, *WORLD_READS[2:])] if flags & OI else None
    if flags & CI:
        return [(0, flags & (OI | CI), *WORLD_READS[2:])]
    return [(0, OI | IO, *WORLD_READS[2:])] if flags & OI else None


def inheritable(flags: int, own: int) -> list[Any]:
    found: list[Any] = []
    for container, with_parent, with_explicit in EVERY_WAY:
        passed = child_of(flags, container) if with_parent else None
        if with_explicit and not (own and passed):
            found.append([(0, flags, *WORLD_READS[2:])])
        else:
            found.append(passed or DEFAULT)
    return found


@ASSIGN.fact(
    lambda flags, parent, own: inheritable(flags, own),
    flags=[OI, CI, OI | CI], parent=[0, 1], own=[0, 1],
)  # fmt: skip
def what_a_parent_passes_on_goes_before_an_explicit_default(
    flags: int, parent: int, own: int
) -> list[Any]:
    acl = new_acl((0, flags, *WORLD_READS[2:]))
    return every_way(descriptor(acl, parent), descriptor(acl, own))


CASES = {
    "plain": (("World", READ_CONTROL_), ("World", READ_CONTROL_),
              ("LocalSystem", SYNCHRONIZE_), SYNCHRONIZE_),
    "creator": (("CreatorOwner", GENERIC_READ), ("AliasAdmins", 0x20001),
                ("CreatorGroup", GENERIC_EXECUTE), 0x20004),
}  # fmt: skip
"""The parent's ACE, the same as it counts for the child; the explicit ACE, its rights mapped."""


def mixed(case: str, flags: int, own_flags: int, defaulted: int) -> list[Any]:
    generic, specific, (own_sid, own_mask), own_specific = CASES[case]
    found: list[Any] = []
    for container, with_parent, with_explicit in EVERY_WAY:
        usable = bool(with_parent) and bool(flags & OI)
        if container:
            usable = bool(with_parent) and bool(flags & CI or (flags & OI and not flags & NP))
        if with_explicit and not (defaulted and usable):
            mask = own_mask if own_flags & IO else own_specific
            found.append([(0, own_flags, own_sid, mask)])
        elif not usable:
            found.append(DEFAULT)
        elif not container or flags & NP:
            found.append([(0, 0, *specific)])
        elif flags & CI and specific != generic:
            found.append([(0, 0, *specific), (0, IO | CI | flags & OI, *generic)])
        else:
            found.append([(0, (0 if flags & CI else IO) | flags & (CI | OI), *generic)])
    return found


@ASSIGN.fact(
    lambda case, own_flags, defaulted: [mixed(case, i, own_flags, defaulted) for i in range(16)],
    case=list(CASES), own_flags=[0, OI | CI, IO | OI, 15], defaulted=[0, 1],
)  # fmt: skip
def an_ace_that_counts_differently_for_the_child_is_passed_on_beside_it(
    case: str, own_flags: int, defaulted: int
) -> list[Any]:
    generic, _, own, _ = CASES[case]
    explicit = descriptor(new_acl((0, own_flags, *own)), defaulted)
    return [
        every_way(descriptor(new_acl((0, flags, *generic))), explicit) for flags in range(16)
    ]  # fmt: skip


@ASSIGN.fact([STATUS_ACCESS_VIOLATION, STATUS_NO_TOKEN, 0, STATUS_ACCESS_VIOLATION, False])
def a_subject_and_a_place_for_the_descriptor_are_wanted() -> list[Any]:
    context, rights, new = subject(), mapping(), PVOID()
    new[0] = INVALID
    first = raised(lambda: SeAssignSecurity(NULL, NULL, NULL, 0, context, rights, PagedPool))
    status = SeAssignSecurity(NULL, NULL, new, 0, NULL, rights, PagedPool)
    last = raised(lambda: SeAssignSecurity(NULL, NULL, NULL, 0, NULL, rights, PagedPool))
    return [first, status, new[0], last, bool(KeAreApcsDisabled())]


def broken(field: str, value: int, place: int = 0) -> list[Any]:
    """What SeAssignSecurity does when the token has `value` where `field` points, or in it."""
    context, rights, new = subject(), mapping(), PVOID()
    new[0] = INVALID
    token = cast(context.PrimaryToken, PTOKEN)
    at = place or int(token) + FIELD_OFFSET(TOKEN, field)
    slot = cast(at, PULONGLONG)
    old, slot[0] = slot[0], value
    statuses: list[int] = []
    thrown = raised(
        lambda: statuses.append(SeAssignSecurity(NULL, NULL, new, 0, context, rights, PagedPool))
    )
    slot[0] = old
    disabled = bool(KeAreApcsDisabled())
    if disabled:
        SeUnlockSubjectContext(context)
    dacl = read_back(new[0])[0] if new[0] not in (0, INVALID) else new[0]
    return [thrown, statuses, disabled, dacl]


@ASSIGN.fact([STATUS_ACCESS_VIOLATION, [], True, INVALID])
def a_token_without_an_owner_raises_with_the_subject_locked() -> list[Any]:
    context = subject()
    token = cast(context.PrimaryToken, PTOKEN)
    return broken("", 0, int(token.UserAndGroups) + 16 * token.DefaultOwnerIndex)


@ASSIGN.fact([0, [STATUS_INVALID_PRIMARY_GROUP], False, 0])
def a_token_without_a_group_makes_no_descriptor() -> list[Any]:
    return broken("PrimaryGroup", 0)


@ASSIGN.fact([0, [STATUS_SUCCESS], False, None])
def a_token_without_a_default_dacl_leaves_the_object_without_one() -> list[Any]:
    return broken("DefaultDacl", 0)


@ASSIGN.fact([STATUS_ACCESS_VIOLATION, True, INVALID])
def a_subject_without_a_token_raises_in_a_critical_region() -> list[Any]:
    context, rights, new = subject(), mapping(), PVOID()
    new[0] = INVALID
    token, context.PrimaryToken = context.PrimaryToken, NULL
    thrown = raised(lambda: SeAssignSecurity(NULL, NULL, new, 0, context, rights, PagedPool))
    disabled = bool(KeAreApcsDisabled())
    KeLeaveCriticalRegion()
    context.PrimaryToken = token
    return [thrown, disabled, new[0]]


FROM_PARENT = {
    SEF_DEFAULT_OWNER_FROM_PARENT: STATUS_INVALID_OWNER,
    SEF_DEFAULT_GROUP_FROM_PARENT: STATUS_INVALID_PRIMARY_GROUP,
    SEF_DEFAULT_OWNER_FROM_PARENT | SEF_DEFAULT_GROUP_FROM_PARENT: STATUS_INVALID_OWNER,
}


@ASSIGN.fact(lambda flags: [FROM_PARENT[flags], 0], flags=list(FROM_PARENT))
def owner_and_group_of_a_parent_that_there_is_not_are_invalid(flags: int) -> list[int]:
    new = PVOID()
    new[0] = INVALID
    rest = (NULL, FALSE, flags, subject(), mapping(), PagedPool)
    status = SeAssignSecurityEx(NULL, NULL, new, *rest)
    found = new[0]
    SeDeassignSecurity(new)
    return [status, found]


LABEL = SYSTEM_MANDATORY_LABEL_ACE_TYPE
SACLS: dict[str, list[Entry] | None] = {
    "NULL": None, "empty": [], "audit": [(2, AUDIT, "World", READ_CONTROL_)],
    "label": [(LABEL, 0, "World", 1)],
    "inheritable audit": [(2, OI | AUDIT, "CreatorOwner", READ_CONTROL_)],
    "inheritable label": [(LABEL, OI, "CreatorOwner", 1)],
}  # fmt: skip


def sacl_of(kind: str) -> list[Any]:
    """Of a child of a parent with this SACL, then of an object for which it is explicit."""
    entries = SACLS[kind]
    passed = [
        (type_, flags & ~OI, "AliasAdmins", mask)
        for type_, flags, _, mask in entries or []
        if flags & OI
    ]
    return [passed or None, "NULL" if entries is None else entries]


@ASSIGN.fact(
    lambda kind, parent, own: [DEFAULT, DEFAULT, *sacl_of(kind)],
    kind=list(SACLS), parent=[0, 1], own=[0, 1],
)  # fmt: skip
def sacls_are_inherited_like_dacls_but_have_no_default(
    kind: str, parent: int, own: int
) -> list[Any]:
    entries = SACLS[kind]
    acl = 0 if entries is None else new_acl(*entries)
    context, rights = subject(), mapping()
    above = assign(descriptor(None, parent, acl), NULL, 0, context, rights)
    itself = assign(NULL, descriptor(None, own, acl), 0, context, rights)
    assert above[2:] == itself[2:] == SystemOwns
    return [above[0], itself[0], above[1], itself[1]]


test_fact = as_tests(ASSIGN)
