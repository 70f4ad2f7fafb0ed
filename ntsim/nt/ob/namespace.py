"""Names: directories, symbolic links and the lookup that follows them.

`\\??` is the DOS devices directory of the global session, the same as `\\GLOBAL??` and
`\\DosDevices`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ntsim.abi import ntstatus
from ntsim.abi.ob import OBJECT_DIRECTORY, OBJECT_SYMBOLIC_LINK
from ntsim.nt.mm.variables import mi_variable
from ntsim.nt.ob.entries import obp_find_entry
from ntsim.nt.ob.objects import ObjectType, set_unicode
from ntsim.nt.rtl.text import read_unicode

if TYPE_CHECKING:
    from ntsim.nt.kernel import Kernel

DIRECTORIES = (
    "ObjectTypes", "Device", "Driver", "FileSystem", "GLOBAL??", "BaseNamedObjects", "Callback",
)  # fmt: skip
MAXIMUM_LINKS = 32
GENERIC = (0x2_0003, 0x2_000C, 0x2_0003, 0xF_000F)


@dataclass(slots=True)
class Found:
    """Outcome of a lookup: the object, or where it would be; `remaining` is for a parse procedure
    (the part of the name behind a device), `parses` says that the object's type has one of a
    driver's."""

    status: int
    body: int = 0
    directory: int = 0
    name: str = ""
    remaining: str = ""
    parses: bool = False


def ob_initialize_namespace(nt: Kernel) -> None:
    """The root's well-known directories, and the types registered so far."""
    ob = nt.ob
    directory = ob.add_type(ObjectType("Directory", GENERIC, 0xF_000F, close=ob_drop_name))
    link = (0x2_0001, 0x2_0000, 0x2_0001, 0xF_0001)
    ob.add_type(ObjectType("SymbolicLink", link, close=ob_drop_name, delete=obp_delete_link))
    ob.root = ob.create(directory, OBJECT_DIRECTORY.size, None, "Dire")
    nt.mmu.write_word(mi_variable(nt, "ObpRootDirectoryObject"), ob.root)
    for name in DIRECTORIES:
        body = ob.create(directory, OBJECT_DIRECTORY.size, None, "Dire")
        ob.attach_name(body, ob.root, name)
        ob.make_permanent(body)
        if name == "ObjectTypes":
            ob.type_directory = body
    for kind in ob.types.values():
        ob.enter_type(kind)
    for alias in ("??", "DosDevices"):
        ob_create_link(nt, f"\\{alias}", "\\GLOBAL??")
    ob_create_link(nt, "\\GLOBAL??\\Global", "\\GLOBAL??")
    for prefix in ("Global", "Local"):
        ob_create_link(nt, f"\\BaseNamedObjects\\{prefix}", "\\BaseNamedObjects")


def ob_initialize_link(nt: Kernel, body: int, target: str) -> None:
    """Write where a symbolic link leads."""
    link = OBJECT_SYMBOLIC_LINK.at(nt.mmu, body)
    text = target.encode("utf-16-le")
    buffer = nt.allocate_pool(len(text) + 2, "SymT")
    nt.mmu.write(buffer, text + b"\0\0")
    set_unicode(link.LinkTarget, buffer, len(text))


def ob_link_target(nt: Kernel, body: int) -> str:
    """Where a symbolic link leads."""
    return read_unicode(nt.mmu, OBJECT_SYMBOLIC_LINK.at(nt.mmu, body).LinkTarget)


def obp_delete_link(nt: Kernel, body: int) -> None:
    """The last reference to a symbolic link is gone."""
    buffer = OBJECT_SYMBOLIC_LINK.at(nt.mmu, body)._v.LinkTarget_Buffer
    if buffer:
        nt.free_pool(buffer)


def ob_create_link(nt: Kernel, name: str, target: str) -> int:
    """Enter a symbolic link; the status of IoCreateSymbolicLink."""
    found = ob_lookup(nt, name, follow_last=False)
    if found.status == ntstatus.STATUS_SUCCESS:
        return ntstatus.STATUS_OBJECT_NAME_COLLISION
    if not found.directory or not found.name:
        return found.status
    body = nt.ob.create(nt.ob.types["SymbolicLink"], OBJECT_SYMBOLIC_LINK.size, None, "Symb")
    if not body:
        return ntstatus.STATUS_INSUFFICIENT_RESOURCES
    ob_initialize_link(nt, body, target)
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
    link, container = ob.types["SymbolicLink"], ob.types["Directory"]
    directory = ob.root
    if path == "\\":
        return Found(ntstatus.STATUS_SUCCESS, directory), None
    parts = path[1:].split("\\")
    for index, part in enumerate(parts):
        last = index == len(parts) - 1
        body = obp_find_entry(nt, directory, part)
        if not body:
            missing = (
                ntstatus.STATUS_OBJECT_NAME_NOT_FOUND if last
                else ntstatus.STATUS_OBJECT_PATH_NOT_FOUND
            )  # fmt: skip
            return Found(missing, 0, directory if last else 0, part if last else ""), None
        kind = ob.type_of(body)
        rest = "\\".join(parts[index + 1 :])
        if kind is link and (follow_last or not last):
            return Found(0), ob_link_target(nt, body) + ("\\" + rest if not last else "")
        if kind is container and not last:
            directory = body
            continue
        remaining = "\\" + rest if not last else ""
        return Found(ntstatus.STATUS_SUCCESS, body, directory, part, remaining), None
    return Found(ntstatus.STATUS_OBJECT_PATH_SYNTAX_BAD), None
