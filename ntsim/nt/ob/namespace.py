"""Names: directories, symbolic links and the lookup that follows them.

`\\??` is the DOS devices directory of the global session, the same as `\\GLOBAL??` and
`\\DosDevices`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ntsim.abi import ntstatus
from ntsim.nt.ob.objects import Directory, ObjectType

if TYPE_CHECKING:
    from ntsim.nt.kernel import Kernel

MAXIMUM_LINKS = 32
GENERIC = (0x2_0003, 0x2_000C, 0x2_0003, 0xF_000F)


@dataclass(eq=False, slots=True)
class SymbolicLink:
    """What hangs on a SymbolicLink object."""

    target: str


@dataclass(slots=True)
class Found:
    """Outcome of a lookup: the object, or where it would be; `remaining` is for a parse procedure
    (the part of the name behind a device)."""

    status: int
    body: int = 0
    directory: Directory | None = None
    name: str = ""
    remaining: str = ""


def ob_initialize_namespace(nt: Kernel) -> None:
    """The root's well-known directories."""
    ob = nt.ob
    directory = ob.add_type(ObjectType("Directory", GENERIC, close=ob_drop_name))
    link = (0x2_0001, 0x2_0000, 0x2_0001, 0xF_0001)
    ob.add_type(ObjectType("SymbolicLink", link, close=ob_drop_name))
    ob.root_body = ob.create(directory, 0x158, ob.root, "Dire")
    made = {}
    for name in ("Device", "Driver", "FileSystem", "GLOBAL??", "BaseNamedObjects", "Callback"):
        made[name] = Directory(name)
        body = ob.create(directory, 0x158, made[name], "Dire")
        ob.attach_name(body, ob.root, name)
        ob.make_permanent(body)
    for alias in ("??", "DosDevices"):
        ob_create_link(nt, f"\\{alias}", "\\GLOBAL??")


def ob_create_link(nt: Kernel, name: str, target: str) -> int:
    """Enter a symbolic link; the status of IoCreateSymbolicLink."""
    found = ob_lookup(nt, name, follow_last=False)
    if found.status == ntstatus.STATUS_SUCCESS:
        return ntstatus.STATUS_OBJECT_NAME_COLLISION
    if found.directory is None or not found.name:
        return found.status
    body = nt.ob.create(nt.ob.types["SymbolicLink"], 0x28, SymbolicLink(target), "Symb")
    if not body:
        return ntstatus.STATUS_INSUFFICIENT_RESOURCES
    nt.ob.attach_name(body, found.directory, found.name)
    nt.ob.make_permanent(body)
    return ntstatus.STATUS_SUCCESS


def ob_drop_name(nt: Kernel, body: int, process: Any, last: bool) -> None:
    """Close procedure: with the last handle the name of a temporary object goes."""
    if last and not nt.ob.is_permanent(body):
        nt.ob.remove_name(body)


def ob_lookup(nt: Kernel, path: str, follow_last: bool = True) -> Found:
    """Walk `path` from the root, following symbolic links."""
    if not path.startswith("\\"):
        return Found(ntstatus.STATUS_OBJECT_PATH_SYNTAX_BAD)
    for _ in range(MAXIMUM_LINKS):
        found, link_rest = _walk(nt, path, follow_last)
        if link_rest is None:
            return found
        path = link_rest
    return Found(ntstatus.STATUS_OBJECT_PATH_NOT_FOUND)


def _walk(nt: Kernel, path: str, follow_last: bool) -> tuple[Found, str | None]:
    """One pass; (outcome, None) or (anything, the path with a link replaced)."""
    ob = nt.ob
    directory = ob.root
    if path == "\\":
        return Found(ntstatus.STATUS_SUCCESS, ob.root_body), None
    parts = path[1:].split("\\")
    for index, part in enumerate(parts):
        last = index == len(parts) - 1
        entry = directory.entries.get(part.lower())
        if entry is None:
            missing = (
                ntstatus.STATUS_OBJECT_NAME_NOT_FOUND if last
                else ntstatus.STATUS_OBJECT_PATH_NOT_FOUND
            )  # fmt: skip
            return Found(missing, 0, directory if last else None, part if last else ""), None
        body = entry[1]
        attached = ob.bodies[body]
        rest = "\\".join(parts[index + 1 :])
        if isinstance(attached, SymbolicLink) and (follow_last or not last):
            return Found(0), attached.target + ("\\" + rest if not last else "")
        if isinstance(attached, Directory) and not last:
            directory = attached
            continue
        remaining = "\\" + rest if not last else ""
        return Found(ntstatus.STATUS_SUCCESS, body, directory, part, remaining), None
    return Found(ntstatus.STATUS_OBJECT_PATH_SYNTAX_BAD), None
