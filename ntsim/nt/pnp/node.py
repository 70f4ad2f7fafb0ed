"""Device nodes: the PnP manager's tree, in bytes.

States and flags are what `!devnode` prints. Source: WDK "!devnode"; Windows 10 public symbols for
the layout; Windows Internals 7, part 1, chapter 6, "Device nodes".
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from ntsim.abi.io import DEVOBJ_EXTENSION
from ntsim.abi.pnp import DEVICE_NODE
from ntsim.nt.events import DeviceStateChanged
from ntsim.nt.ob.objects import set_unicode

if TYPE_CHECKING:
    from ntsim.nt.kernel import Kernel

UNINITIALIZED, INITIALIZED, DRIVERS_ADDED, RESOURCES_ASSIGNED = 0x301, 0x302, 0x303, 0x304
START_PENDING, START_COMPLETION, STARTED, QUERY_STOPPED = 0x305, 0x306, 0x308, 0x309
STOPPED, AWAITING_REMOVAL, QUERY_REMOVED = 0x30A, 0x30F, 0x310
REMOVE_PENDING_CLOSES, REMOVED, DELETED = 0x311, 0x312, 0x314
STATE_NAMES = {
    UNINITIALIZED: "Uninitialized", INITIALIZED: "Initialized", DRIVERS_ADDED: "DriversAdded",
    RESOURCES_ASSIGNED: "ResourcesAssigned", START_PENDING: "StartPending",
    START_COMPLETION: "StartCompletion", STARTED: "Started", QUERY_STOPPED: "QueryStopped",
    STOPPED: "Stopped", AWAITING_REMOVAL: "AwaitingQueuedRemoval", QUERY_REMOVED: "QueryRemoved",
    REMOVE_PENDING_CLOSES: "RemovePendingCloses", REMOVED: "Removed", DELETED: "Deleted",
}  # fmt: skip

DNF_HAS_PROBLEM = 0x2000
HISTORY = 20
PROBLEM_NOT_CONFIGURED, PROBLEM_FAILED_START, PROBLEM_DISABLED = 1, 10, 22
PROBLEM_DEVICE_NOT_THERE, PROBLEM_FAILED_ADD, PROBLEM_DRIVER_FAILED_LOAD = 24, 31, 39
PROBLEM_FAILED_POST_START = 43
"""CM_PROB_* of cfg.h."""


_PDO = DEVICE_NODE.offset_of("PhysicalDeviceObject")
_SIBLING = DEVICE_NODE.offset_of("Sibling")


def pip_new_node(nt: Kernel, pdo: Any) -> Any:
    """A device node for a PDO, which keeps the reference that came with it; linked nowhere."""
    address = nt.allocate_pool(DEVICE_NODE.size, "PpDn")
    nt.mmu.write(address, bytes(DEVICE_NODE.size))
    node = DEVICE_NODE.at(nt.mmu, address)
    node._v.PhysicalDeviceObject = int(pdo)
    DEVOBJ_EXTENSION.at(nt.mmu, pdo._v.DeviceObjectExtension)._v.DeviceNode = address
    node._v.State = UNINITIALIZED
    return node


def pip_link(parent: Any, node: Any) -> None:
    """Make `node` the last child of `parent`."""
    v = parent._v
    node._v.Parent, node._v.Level = int(parent), v.Level + 1
    if v.LastChild:
        parent.LastChild.Sibling = node
    else:
        v.Child = int(node)
    v.LastChild = int(node)


def pip_unlink(node: Any) -> None:
    """Take `node` out of its parent's list of children."""
    parent = node.Parent
    before, at = None, parent.Child
    while at != node:
        before, at = at, at.Sibling
    if before is None:
        parent.Child = node.Sibling
    else:
        before.Sibling = node.Sibling
    if parent.LastChild == node:
        parent.LastChild = before or 0
    node._v.Parent = node._v.Sibling = 0


def pip_children(node: Any) -> list[Any]:
    """The children in the order in which they were reported."""
    found, at = [], node.Child
    while at:
        found.append(at)
        at = at.Sibling
    return found


def pip_children_by_pdo(nt: Kernel, node: Any) -> dict[int, int]:
    """Addresses of the children's nodes by that of their PDO, in the same order."""
    found, at = {}, node._v.Child
    while at:
        found[nt.read_pointer(at + _PDO)] = at
        at = nt.read_pointer(at + _SIBLING)
    return found


def pip_subtree(node: Any) -> Iterator[Any]:
    """Every node below `node`, children before their parents, then `node`: removal order."""
    for child in pip_children(node):
        yield from pip_subtree(child)
    yield node


def pip_set_state(nt: Kernel, node: Any, state: int) -> None:
    """PipSetDevNodeState: the new state, the old one, and the history that !devnode shows."""
    v = node._v
    if v.State == state:
        return
    entry = v.StateHistoryEntry
    node.StateHistory[entry % HISTORY] = v.State
    v.StateHistoryEntry = (entry + 1) % HISTORY
    v.PreviousState, v.State = v.State, state
    nt.emit(DeviceStateChanged, pip_instance_path(nt, node), STATE_NAMES[state])


def pip_set_problem(node: Any, problem: int, status: int) -> None:
    v = node._v
    v.Flags |= DNF_HAS_PROBLEM
    v.Problem, v.ProblemStatus = problem, status


def pip_clear_problem(node: Any) -> None:
    v = node._v
    v.Flags &= ~DNF_HAS_PROBLEM
    v.Problem = v.ProblemStatus = 0


def pip_instance_path(nt: Kernel, node: Any) -> str:
    """`ROOT\\TOASTER\\0000`, empty before the IDs are known."""
    v = node._v
    size = v.InstancePath_Length
    text: str = nt.mmu.read(v.InstancePath_Buffer, size).decode("utf-16-le") if size else ""
    return text


def pip_set_text(nt: Kernel, string: Any, text: str) -> None:
    """Store a copy of `text` in one of the node's UNICODE_STRINGs."""
    if string._v.Buffer:
        nt.free_pool(string._v.Buffer)
    data = text.encode("utf-16-le")
    buffer = nt.allocate_pool(len(data) + 2, "PpUs") if text else 0
    if text:
        nt.mmu.write(buffer, data + b"\0\0")
    set_unicode(string, buffer, len(data))


def pip_free_node(nt: Kernel, node: Any) -> None:
    """The node goes, and with it its reference to the PDO."""
    v = node._v
    for string in (node.InstancePath, node.ServiceName, node.UniqueId):
        pip_set_text(nt, string, "")
    pip_free_resources(nt, node)
    pdo = node.PhysicalDeviceObject
    DEVOBJ_EXTENSION.at(nt.mmu, pdo._v.DeviceObjectExtension)._v.DeviceNode = 0
    v.PhysicalDeviceObject = 0
    nt.free_pool(int(node))
    nt.ob.dereference(int(pdo))


def pip_free_resources(nt: Kernel, node: Any) -> None:
    """The assigned resources are given back."""
    v = node._v
    for address in (v.ResourceList, v.ResourceListTranslated):
        if address:
            nt.free_pool(address)
    v.ResourceList = v.ResourceListTranslated = 0
