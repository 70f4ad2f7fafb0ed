"""Registry callbacks: drivers hear of registry operations before and after, and may stop them.

Before an operation every callback is called from the highest altitude down. One that answers with
a failure ends it: the caller gets that status, or with STATUS_CALLBACK_BYPASS success, and only
the callbacks above hear of the end. Afterwards they are called the other way round, and one that
answers STATUS_CALLBACK_BYPASS replaces the status by its ReturnStatus. Source: WDK "Filtering
Registry Calls", CmRegisterCallbackEx, EX_CALLBACK_FUNCTION, REG_POST_OPERATION_INFORMATION; wdm.h
for the structures.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ntsim.abi import ntstatus
from ntsim.abi import wdm_constants as c
from ntsim.nt.ob.handles import ob_reference_by_handle

if TYPE_CHECKING:
    from ntsim.nt.kernel import Kernel


@dataclass(frozen=True, slots=True)
class Operation:
    """A kind of operation: its two notifications, and the fields of its information structure
    between Object and CallContext, as a struct format."""

    before: int
    after: int
    fields: str = ""


DELETE_KEY = Operation(c.RegNtPreDeleteKey, c.RegNtPostDeleteKey)
FLUSH_KEY = Operation(c.RegNtPreFlushKey, c.RegNtPostFlushKey)
CLOSE_KEY = Operation(c.RegNtPreKeyHandleClose, c.RegNtPostKeyHandleClose)
SET_VALUE = Operation(c.RegNtPreSetValueKey, c.RegNtPostSetValueKey, "QIIQI4x")
DELETE_VALUE = Operation(c.RegNtPreDeleteValueKey, c.RegNtPostDeleteValueKey, "Q")
ENUMERATE_KEY = Operation(c.RegNtPreEnumerateKey, c.RegNtPostEnumerateKey, "IIQI4xQ")
ENUMERATE_VALUE = Operation(c.RegNtPreEnumerateValueKey, c.RegNtPostEnumerateValueKey, "IIQI4xQ")
QUERY_KEY = Operation(c.RegNtPreQueryKey, c.RegNtPostQueryKey, "I4xQI4xQ")
QUERY_VALUE = Operation(c.RegNtPreQueryValueKey, c.RegNtPostQueryValueKey, "QI4xQI4xQ")
CREATE_KEY = Operation(c.RegNtPreCreateKeyEx, c.RegNtPostCreateKeyEx, "QQI4xQQQIIQQ")
OPEN_KEY = Operation(c.RegNtPreOpenKeyEx, c.RegNtPostOpenKeyEx, "QQI4xQQQIIQQ")
"""Of the last two the first field is CompleteName, in the place of Object."""


@dataclass(eq=False, slots=True)
class Filter:
    """What one CmRegisterCallback(Ex) registered."""

    cookie: int
    altitude: str
    routine: int
    context: int


def cm_filtered(
    nt: Kernel, operation: Operation, handle: int, fields: tuple[int, ...], run: Callable[[], int]
) -> int:
    """Run an operation on an open key between the callbacks; its status."""
    if not nt.cm.filters:
        return run()
    status, body, _ = ob_reference_by_handle(nt, int(handle), 0, None, 0)
    if status:
        return run()
    status = cmp_between(nt, operation, body, (body, *fields), run, lambda: body)
    nt.ob.dereference(body)
    return status


def cm_filtered_name(
    nt: Kernel,
    operation: Operation,
    attributes: Any,
    asked: tuple[int, int, int],
    handle: Any,
    run: Callable[[], int],
) -> int:
    """Run an opening or creation between the callbacks; `asked`: access, options, class."""
    if not nt.cm.filters:
        return run()
    access, options, kind = asked
    v = attributes._v
    root, key = 0, nt.ob.types.get("Key")
    if v.RootDirectory:
        status, root, _ = ob_reference_by_handle(nt, v.RootDirectory, 0, key, 0)
        if status:
            return status
    made: list[int] = []

    def made_body() -> int:
        if not made:
            status, body, _ = ob_reference_by_handle(nt, int(handle[0]), 0, None, 0)
            made.append(0 if status else body)
            if body:
                nt.ob.dereference(body)
        return made[0]

    succeeded: list[int] = []

    def remember() -> int:
        status = run()
        succeeded.append(int(status == ntstatus.STATUS_SUCCESS))
        return status

    fields = (
        v.ObjectName, root, key.va if key else 0, options, kind, v.SecurityDescriptor,
        v.SecurityQualityOfService, access, access, 0, 0,
    )  # fmt: skip
    opened = lambda: made_body() if 1 in succeeded else 0  # noqa: E731
    status = cmp_between(nt, operation, root, fields, remember, opened)
    if root:
        nt.ob.dereference(root)
    return status


def place(out: Any) -> int:
    """The address of an out argument, 0 for a Python caller's."""
    try:
        return int(out)
    except TypeError:
        return 0


def cmp_between(
    nt: Kernel,
    operation: Operation,
    body: int,
    fields: tuple[int, ...],
    run: Callable[[], int],
    after: Callable[[], int],
) -> int:
    """The same with the whole structure's fields; `after` finds the object of the end."""
    head = struct.pack("<Q" + operation.fields, *fields)
    block = nt.allocate_pool(len(head) + 0x20 + 0x38, "CmCb")
    post = block + len(head) + 0x20
    called: list[tuple[Filter, int]] = []
    status = ntstatus.STATUS_SUCCESS
    for each in list(nt.cm.filters):
        nt.mmu.write(block, head + bytes(0x20))
        nt.mmu.write_word(block + len(head) + 8, cmp_context(nt, body, each))
        status = cmp_call(nt, each, operation.before, block)
        if status >> 30 == 3:
            break
        called.append((each, nt.read_pointer(block + len(head))))
    if status == ntstatus.STATUS_CALLBACK_BYPASS:
        status = ntstatus.STATUS_SUCCESS
    elif status >> 30 != 3:
        status = run()
    for each, context in reversed(called):
        found = after()
        own = cmp_context(nt, found, each)
        data = struct.pack("<QI4xQI4xQQQ", found, status, block, status, context, own, 0)
        nt.mmu.write(post, data)
        if cmp_call(nt, each, operation.after, post) == ntstatus.STATUS_CALLBACK_BYPASS:
            status = int.from_bytes(nt.mmu.read(post + 0x18, 4), "little")
    nt.free_pool(block)
    return status


def cmp_call(nt: Kernel, each: Filter, notification: int, argument: int) -> int:
    return nt.call(each.routine, each.context, notification, argument) & 0xFFFF_FFFF


def cmp_context(nt: Kernel, body: int, each: Filter) -> int:
    """What a driver set with CmSetCallbackObjectContext for an open key."""
    return nt.cm.contexts.get((body, each.cookie), 0)


def cm_key_closed(nt: Kernel, body: int) -> None:
    """The last handle of an open key is being closed."""
    if nt.cm.filters:
        cmp_between(nt, CLOSE_KEY, body, (body,), lambda: 0, lambda: 0)


def cm_forget_contexts(nt: Kernel, body: int) -> None:
    """An open key goes: those who gave it a context hear of it."""
    for each in list(nt.cm.filters):
        context = nt.cm.contexts.pop((body, each.cookie), 0)
        if context:
            cmp_cleanup(nt, each, body, context)


def cmp_cleanup(nt: Kernel, each: Filter, body: int, context: int) -> None:
    """RegNtCallbackObjectContextCleanup: Object, ObjectContext, Reserved."""
    block = nt.allocate_pool(0x18, "CmCb")
    nt.mmu.write(block, struct.pack("<QQQ", body, context, 0))
    cmp_call(nt, each, c.RegNtCallbackObjectContextCleanup, block)
    nt.free_pool(block)
