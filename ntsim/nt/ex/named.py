"""Creating and opening the executive's small objects, named or not.

A named object lives as long as somebody has it open: the name goes with the last handle. Source:
WDK "Object Names", InitializeObjectAttributes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from ntsim.abi import ntstatus
from ntsim.abi.wdm_constants import OBJ_PERMANENT
from ntsim.nt.ex.arguments import OBJ_OPENIF, Attributes
from ntsim.nt.ob.handles import map_generic, ob_reference_by_handle
from ntsim.nt.ob.insert import ob_insert_handle, ob_make_handle
from ntsim.nt.ob.namespace import Found, ob_drop_name, ob_lookup
from ntsim.nt.ob.objects import ObjectType
from ntsim.nt.ob.procedures import OPEN_HANDLE

if TYPE_CHECKING:
    from ntsim.nt.kernel import Kernel


exp_drop_name = ob_drop_name


def exp_find(nt: Kernel, attributes: Attributes, follow_last: bool = True) -> Found:
    """Where the name of `attributes` leads, or would."""
    path = attributes.name
    if attributes.root:
        mode = nt.thread.v.PreviousMode
        kind = nt.ob.types["Directory"]
        status, body, _ = ob_reference_by_handle(nt, attributes.root, 0, kind, mode)
        if status:
            return Found(status)
        path = f"{nt.ob.full_name(body)}\\{path}"
        nt.ob.dereference(body)
    found = ob_lookup(nt, path, follow_last)
    if found.status == 0 and nt.ob.type_of(found.body).v.TypeInfo_ParseProcedure:
        found.parses = True
    elif found.status == 0 and found.remaining:
        return Found(ntstatus.STATUS_OBJECT_PATH_NOT_FOUND)
    return found


def exp_create(
    nt: Kernel,
    kind: ObjectType,
    size: int,
    attributes: Attributes,
    access: int,
    initialize: Callable[[int], None],
) -> tuple[int, int]:
    """(status, handle) of a new object; `initialize(body)` fills it.

    A name that exists is a collision, or with OBJ_OPENIF opened: STATUS_OBJECT_NAME_EXISTS.
    """
    found = exp_find(nt, attributes) if attributes.name else None
    if found is not None and found.status == 0:
        if not attributes.flags & OBJ_OPENIF:
            return ntstatus.STATUS_OBJECT_NAME_COLLISION, 0
        status, handle = exp_open_found(nt, kind, found, attributes, access)
        return status or ntstatus.STATUS_OBJECT_NAME_EXISTS, handle
    if found is not None and (not found.directory or not found.name):
        return found.status, 0
    body = nt.ob.create(kind, size)
    if not body:
        return ntstatus.STATUS_INSUFFICIENT_RESOURCES, 0
    initialize(body)
    if found is not None and found.directory:
        nt.ob.attach_name(body, found.directory, found.name, held=True)
        if attributes.flags & OBJ_PERMANENT:
            nt.ob.make_permanent(body)
    handle = ob_insert_handle(nt, body, map_generic(access, kind.generic_mapping), attributes.flags)
    nt.ob.dereference(body)
    return ntstatus.STATUS_SUCCESS, handle


def exp_open(nt: Kernel, kind: ObjectType, attributes: Attributes, access: int) -> tuple[int, int]:
    """(status, handle) of an existing object."""
    if not attributes.name:
        return ntstatus.STATUS_OBJECT_PATH_SYNTAX_BAD, 0
    return exp_open_found(nt, kind, exp_find(nt, attributes), attributes, access)


def exp_open_found(
    nt: Kernel, kind: ObjectType, found: Found, attributes: Attributes, access: int
) -> tuple[int, int]:
    """A handle to what a lookup found, if it is of the type."""
    if found.status:
        return found.status, 0
    if nt.ob.type_of(found.body) is not kind:
        return ntstatus.STATUS_OBJECT_TYPE_MISMATCH, 0
    granted = map_generic(access, kind.generic_mapping)
    return ob_make_handle(nt, OPEN_HANDLE, found.body, granted, attributes.flags)


def exp_reference(nt: Kernel, handle: int, access: int, name: str) -> tuple[int, int]:
    """(status, body) of a handle to an object of the type `name`; referenced on success."""
    mode = nt.thread.v.PreviousMode
    status, body, _ = ob_reference_by_handle(nt, handle, access, nt.ob.types[name], mode)
    return status, body
