"""Facts of tokens and privileges, of generic tables, and of files opened by several."""

from __future__ import annotations

from typing import Any

from ntsim.wdm import *

from .fact import KMTESTS, Facts, as_tests

TOKENS = Facts(f"{KMTESTS}/ntos_se/SeQueryInfoToken.c")
SPLAY = Facts(f"{KMTESTS}/rtl/RtlSplayTree.c")
AVL = Facts(f"{KMTESTS}/rtl/RtlAvlTree.c")
NUMBERED = Facts("WDK RtlGetElementGenericTable, RtlGetElementGenericTableAvl")
SHARING = Facts("Wine dlls/kernel32/tests/file.c test_file_sharing; WDK IoCheckShareAccess")
TAG = 0x74736554
SANDBOX_INERT, GROUPS_AND_PRIVILEGES, ORIGIN = 15, 13, 17


def subject() -> tuple[Any, Any]:
    """(context, token) of the current thread."""
    context = SECURITY_SUBJECT_CONTEXT()
    SeCaptureSubjectContext(context)
    SeLockSubjectContext(context)
    return context, SeQuerySubjectContextToken(context)


def let_go(context: Any) -> None:
    SeUnlockSubjectContext(context)
    SeReleaseSubjectContext(context)


def asked(kind: int) -> tuple[int, Any]:
    context, token = subject()
    status, answer = SeQueryInformationToken(token, kind)
    let_go(context)
    return status, answer


@TOKENS.fact(True)
def a_subject_has_a_token() -> bool:
    context, token = subject()
    let_go(context)
    return int(token) != 0


@TOKENS.fact(
    (0, True),
    kind=[TokenOwner, TokenDefaultDacl, TokenGroups, TokenStatistics, TokenType, TokenUser],
)
def a_class_is_answered_in_a_block(kind: int) -> tuple[int, bool]:
    status, block = asked(kind)
    ExFreePool(block)
    return status, int(block) != 0


@TOKENS.fact([0, True], kind=[TokenOwner, TokenUser])
def a_token_names_a_valid_sid(kind: int) -> list[Any]:
    status, block = asked(kind)
    sid = cast(block, PULONGLONG)[0]
    return [status, bool(RtlValidSid(sid))]


@TOKENS.fact([0, True])
def a_default_dacl_has_a_revision() -> list[Any]:
    status, block = asked(TokenDefaultDacl)
    acl = cast(block, PULONGLONG)[0]
    return [status, read_bytes(acl, 1)[0] in (2, 4)]


@TOKENS.fact([0, True])
def every_group_is_a_valid_sid() -> list[Any]:
    status, block = asked(TokenGroups)
    words = cast(block, PULONGLONG)
    count = cast(block, PULONG)[0]
    return [status, all(RtlValidSid(words[1 + 2 * i]) for i in range(count)) and count > 0]


@TOKENS.fact([0, True])
def a_token_is_primary_or_for_impersonation() -> list[Any]:
    status, block = asked(TokenType)
    return [status, cast(block, PULONG)[0] in (TokenPrimary, TokenImpersonation)]


@TOKENS.fact(
    (STATUS_INVALID_INFO_CLASS, 0),
    kind=[ORIGIN, GROUPS_AND_PRIVILEGES, TokenRestrictedSids, SANDBOX_INERT, 0, 1000],
)
def classes_for_applications_are_none_for_drivers(kind: int) -> tuple[int, int]:
    status, block = asked(kind)
    return status, int(block)


class Accessing:
    """An access state, and its auxiliary data's set of privileges."""

    def __init__(self) -> None:
        self.state = ACCESS_STATE()
        self.aux = ExAllocatePoolWithTag(NonPagedPoolNx, 0xE0, TAG)
        self.status = SeCreateAccessState(self.state, self.aux, MAXIMUM_ALLOWED, NULL)

    @property
    def used(self) -> Any:
        return cast(cast(self.aux, PULONGLONG)[0], PRIVILEGE_SET)

    def append(self, count: int, entries: bytes = b"") -> int:
        """How many privileges the state has used with these."""
        block = ExAllocatePoolWithTag(NonPagedPoolNx, 8 + 12 * count, TAG)
        write_bytes(block, count.to_bytes(8, "little") + entries.ljust(12 * count, b"\0"))
        status = SeAppendPrivileges(self.state, cast(block, PRIVILEGE_SET))
        ExFreePoolWithTag(block, TAG)
        assert status == 0
        found: int = self.used.PrivilegeCount
        return found

    def check(self, mode: int) -> bool:
        return bool(SePrivilegeCheck(self.used, self.state.SubjectSecurityContext, mode))


@TOKENS.fact([0, 1, 5, 19])
def privileges_are_appended_beyond_the_first_three() -> list[int]:
    state = Accessing()
    found = [state.status, *(state.append(count) for count in (1, 4, 14))]
    SeDeleteAccessState(state.state)
    return found


@TOKENS.fact(
    lambda mode, held: mode == KernelMode or held,
    mode=[KernelMode, UserMode],
    held=[False, True],
)
def privileges_are_checked_for_user_mode_only(mode: int, held: bool) -> bool:
    state = Accessing()
    luid = 20 if held else 63
    state.append(1, luid.to_bytes(8, "little"))
    found = [state.check(mode) for _ in range(2)]
    SeDeleteAccessState(state.state)
    assert found[0] == found[1]
    return found[0]


@TOKENS.fact(True)
def the_privileges_a_token_has_enabled_are_enough() -> bool:
    state = Accessing()
    _, block = asked(TokenPrivileges)
    count = cast(block, PULONG)[0]
    enabled = b""
    for i in range(count):
        entry = read_bytes(int(block) + 4 + 12 * i, 12)
        if entry[8] & 2:
            enabled += entry
    state.append(len(enabled) // 12, enabled)
    state.used.Control = PRIVILEGE_SET_ALL_NECESSARY
    return state.check(UserMode)


TEXT = "the quick_brown!fOx-jUmp3d/0vER+THe^lazy.D@g"


class Table:
    """A generic table of characters, of one of two kinds."""

    def __init__(self, kind: str) -> None:
        avl = kind == "avl"
        self.table = RTL_AVL_TABLE() if avl else RTL_GENERIC_TABLE()
        self.blocks: set[int] = set()
        self.insert_ = RtlInsertElementGenericTableAvl if avl else RtlInsertElementGenericTable
        self.delete_ = RtlDeleteElementGenericTableAvl if avl else RtlDeleteElementGenericTable
        self.lookup_ = RtlLookupElementGenericTableAvl if avl else RtlLookupElementGenericTable
        self.next_ = RtlEnumerateGenericTableAvl if avl else RtlEnumerateGenericTable
        self.get_ = RtlGetElementGenericTableAvl if avl else RtlGetElementGenericTable
        self.count_ = RtlNumberGenericTableElementsAvl if avl else RtlNumberGenericTableElements
        self.empty_ = RtlIsGenericTableEmptyAvl if avl else RtlIsGenericTableEmpty
        start = RtlInitializeGenericTableAvl if avl else RtlInitializeGenericTable
        self.key = ExAllocatePoolWithTag(NonPagedPoolNx, 16, TAG)

        def compare(Table: Any, First: Any, Second: Any) -> int:
            one, two = read_bytes(int(First), 1), read_bytes(int(Second), 1)
            if one == two:
                return GenericEqual
            return GenericLessThan if one < two else GenericGreaterThan

        def allocate(Table: Any, ByteSize: Any) -> Any:
            made = ExAllocatePoolWithTag(NonPagedPoolNx, ByteSize, TAG)
            self.blocks.add(int(made))
            return made

        def free(Table: Any, Buffer: Any) -> None:
            self.blocks.remove(int(Buffer))
            ExFreePoolWithTag(Buffer, TAG)

        start(self.table, compare, allocate, free, NULL)

    def of(self, letter: str) -> int:
        write_bytes(self.key, letter.encode())
        return int(self.key)

    def insert(self, letter: str) -> tuple[str, bool]:
        new = BOOLEAN()
        at = self.insert_(self.table, self.of(letter), 1, new)
        return read_bytes(int(at), 1).decode(), bool(new[0])

    def delete(self, letter: str) -> bool:
        return bool(self.delete_(self.table, self.of(letter)))

    def lookup(self, letter: str) -> bool:
        return bool(self.lookup_(self.table, self.of(letter)))

    def all(self) -> str:
        found, at = "", self.next_(self.table, TRUE)
        while at:
            found += read_bytes(int(at), 1).decode()
            at = self.next_(self.table, FALSE)
        return found


def filled(kind: str) -> Table:
    table = Table(kind)
    for letter in TEXT:
        table.insert(letter)
    return table


def both(name: str, expected: Any) -> Any:
    """The same assertion about splay and AVL tables."""

    def keep(body: Any) -> Any:
        body.__name__ = name
        SPLAY.fact(expected, kind=["splay"])(body)
        AVL.fact(expected, kind=["avl"])(body)
        return body

    return keep


NEW = [letter not in TEXT[:i] for i, letter in enumerate(TEXT)]


@both("an_element_is_new_once", [list(zip(TEXT, NEW, strict=True)), len(set(TEXT))])
def inserted(kind: str) -> list[Any]:
    table = Table(kind)
    return [[table.insert(letter) for letter in TEXT], table.count_(table.table)]


@both("elements_are_enumerated_in_order", "".join(sorted(set(TEXT))))
def enumerated(kind: str) -> str:
    return filled(kind).all()


@both("an_element_is_found_if_it_is_there", [True, False, False, True])
def found(kind: str) -> list[bool]:
    table = filled(kind)
    return [table.lookup("q"), table.lookup("#"), table.delete("#"), table.lookup("g")]


@both("a_table_whose_elements_are_deleted_is_empty", [NEW, True, 0, False, 0])
def deleted(kind: str) -> list[Any]:
    table = filled(kind)
    gone = [table.delete(letter) for letter in TEXT]
    t = table.table
    return [
        gone, bool(table.empty_(t)), table.count_(t), bool(table.get_(t, 0)), len(table.blocks)
    ]  # fmt: skip


@NUMBERED.fact(True, kind=["splay", "avl"])
def an_element_has_a_number_by_insertion_or_in_order(kind: str) -> bool:
    table = filled(kind)
    letters = [read_bytes(int(table.get_(table.table, i)), 1).decode() for i in (0, 5, 20)]
    order = sorted(set(TEXT)) if kind == "avl" else list(dict.fromkeys(TEXT))
    return letters == [order[0], order[5], order[20]]


ACCESSES = [0, FILE_READ_DATA, FILE_WRITE_DATA, DELETE, FILE_READ_DATA | FILE_WRITE_DATA]
SHARES = [0, FILE_SHARE_READ, FILE_SHARE_WRITE, FILE_SHARE_DELETE, 3, 7]
RIGHT_OF = [(FILE_READ_DATA, 1), (FILE_WRITE_DATA, 2), (DELETE, 4)]


def covered(access: int, share: int) -> bool:
    """Whether somebody who shares so lets an access in."""
    return all(share & bit or not access & right for right, bit in RIGHT_OF)


def together(access: int, share: int, second: int) -> list[int]:
    """The statuses of second opens with each sharing; 0 asks for nothing that conflicts."""
    return [
        0 if not access or not second or (covered(access, other) and covered(second, share))
        else STATUS_SHARING_VIOLATION
        for other in SHARES
    ]  # fmt: skip


@SHARING.fact(together, access=ACCESSES, share=SHARES, second=ACCESSES)
def opens_go_together_if_each_shares_what_the_other_does(
    access: int, share: int, second: int
) -> list[int]:
    shared, one = SHARE_ACCESS(), FILE_OBJECT()
    IoSetShareAccess(access or FILE_READ_ATTRIBUTES, share, one, shared)
    asking = second or FILE_READ_ATTRIBUTES
    return [IoCheckShareAccess(asking, s, FILE_OBJECT(), shared, FALSE) for s in SHARES]


test_fact = as_tests(TOKENS, SPLAY, AVL, NUMBERED, SHARING)
