"""Key objects: what a key handle refers to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ntsim.abi import ntstatus
from ntsim.nt.cm.callbacks import cm_forget_contexts, cm_key_closed
from ntsim.nt.cm.registry import Key
from ntsim.nt.ob.handles import ob_reference_by_handle
from ntsim.nt.ob.insert import ob_insert_handle
from ntsim.nt.ob.objects import ObjectType
from ntsim.nt.rtl.text import read_unicode

if TYPE_CHECKING:
    from ntsim.abi.rtl import POBJECT_ATTRIBUTES
    from ntsim.nt.kernel import Kernel

KEY_GENERIC = (0x2_0019, 0x2_0006, 0x2_0019, 0xF_003F)
KEY_SIGNATURE = b"20yk"
"""`ky02` as a ULONG: the first field of a key body."""

BODY_SIZE = 0x58


def cm_create_key_type(nt: Kernel) -> None:
    """Register the object type Key."""
    nt.ob.add_type(
        ObjectType("Key", KEY_GENERIC, 0x1F_003F, close=cm_close_handle, delete=cm_forget_contexts)
    )


def cm_close_handle(nt: Kernel, body: int, process: Any, last: bool) -> None:
    """Registry callbacks hear of the last handle of an open key."""
    if last:
        cm_key_closed(nt, body)


def key_type(nt: Kernel) -> ObjectType:
    return nt.ob.types["Key"]


def open_key(nt: Kernel, key: Key, access: int, attributes: int) -> int:
    """A new handle to a key; 0 if memory is short."""
    body = nt.ob.create(key_type(nt), BODY_SIZE, key, "Key ")
    if not body:
        return 0
    nt.mmu.write(body, KEY_SIGNATURE)
    handle = ob_insert_handle(nt, body, access, attributes)
    nt.ob.dereference(body)
    return handle


def key_of(nt: Kernel, handle: int) -> tuple[int, Key | None]:
    """(status, key) of a handle; STATUS_KEY_DELETED if the key is gone."""
    status, body, _ = ob_reference_by_handle(nt, int(handle), 0, key_type(nt), 0)
    if status:
        return status, None
    key: Key = nt.ob.bodies[body]
    nt.ob.dereference(body)
    return (ntstatus.STATUS_KEY_DELETED, None) if key.deleted else (0, key)


def named_key(nt: Kernel, attributes: POBJECT_ATTRIBUTES) -> tuple[int, Key | None, str]:
    """(status, base key, path) of OBJECT_ATTRIBUTES; no base for an absolute path."""
    name = attributes.ObjectName
    path = read_unicode(nt.mmu, name) if name else ""
    if attributes.RootDirectory:
        status, base = key_of(nt, attributes.RootDirectory)
        if not status and path.startswith("\\"):
            status = ntstatus.STATUS_OBJECT_PATH_SYNTAX_BAD
        return status, base, path
    if not path.startswith("\\"):
        return ntstatus.STATUS_OBJECT_PATH_SYNTAX_BAD, None, path
    if not nt.cm.is_absolute(path):
        return ntstatus.STATUS_OBJECT_NAME_NOT_FOUND, None, path
    return 0, None, path
