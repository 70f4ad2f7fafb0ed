"""The PnP manager's state: the tree, its lock, the queue of device actions.

Made when a device is first plugged in or a driver first calls a PnP routine: a machine without
devices has none of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

from ntsim.abi import bugcodes
from ntsim.abi.ex import WORK_QUEUE_ITEM
from ntsim.abi.io import DEVICE_OBJECT, DEVOBJ_EXTENSION
from ntsim.abi.ke import KEVENT
from ntsim.abi.pnp import DEVICE_NODE
from ntsim.errors import Error
from ntsim.nt.ex.work import ExInitializeWorkItem, ExQueueWorkItem
from ntsim.nt.ke.objects import KeInitializeEvent, KeSetEvent
from ntsim.nt.ke.wait import SYNCHRONIZATION_EVENT, WAIT_ANY, ki_wait

if TYPE_CHECKING:
    from ntsim.nt.kernel import Kernel
    from ntsim.nt.pnp.hardware import Hardware

ENUM = "\\Registry\\Machine\\SYSTEM\\CurrentControlSet\\Enum"
CRITICAL_DEVICES = (
    "\\Registry\\Machine\\SYSTEM\\CurrentControlSet\\Control\\CriticalDeviceDatabase"
)
"""Hardware ID (with # for \\) to Service: the match that needs no INF file."""

DELAYED_WORK_QUEUE = 1
INVALID_PDO = 2


class Pnp:
    """`root` is the tree's root, `hardware` what is on the root bus, by PDO.

    `nodes` are the device nodes by PDO: the reverse of DEVICE_NODE.PhysicalDeviceObject, for the
    object manager's question whether a PDO is still in the tree. `paths` are the PDOs by instance
    path, so that a duplicate is found without a search.
    """

    def __init__(self, nt: Kernel) -> None:
        self.nt = nt
        self.nodes: dict[int, Any] = {}
        self.paths: dict[str, int] = {}
        self.hardware: dict[int, Hardware] = {}
        self.bus: Any = None
        self.root: Any = None
        self.lock = KEVENT.at(nt.mmu, nt.allocate_pool(KEVENT.size, "PpLk"))
        KeInitializeEvent(nt, self.lock, SYNCHRONIZATION_EVENT, True)
        self.owner: Any = None
        self.actions: list[Callable[[], None]] = []
        self.item = WORK_QUEUE_ITEM.at(nt.mmu, nt.allocate_pool(WORK_QUEUE_ITEM.size, "PpWi"))
        self.working = False
        self.interfaces: dict[str, Any] = {}
        self.notifications: list[Any] = []
        self.interrupts: dict[int, list[Any]] = {}

    @contextmanager
    def locked(self) -> Iterator[None]:
        """The engine lock: one thread changes the tree at a time; its owner may take it again."""
        nt = self.nt
        if self.owner is nt.thread:
            yield
            return
        ki_wait(nt, [int(self.lock)], WAIT_ANY, 0, 0, False, None)
        self.owner = nt.thread
        try:
            yield
        except Error:  # the caller of ntsim was wrong; a dead machine's stacks end otherwise
            self.unlock()
            raise
        self.unlock()

    def unlock(self) -> None:
        """The next thread may change the tree."""
        self.owner = None
        KeSetEvent(self.nt, self.lock, 0, False)

    def queue(self, action: Callable[[], None]) -> None:
        """Let a system worker run `action` under the lock, after those queued before it."""
        self.actions.append(action)
        if not self.working:
            self.working = True
            nt = self.nt
            ExInitializeWorkItem(nt, self.item, nt.internal_address(pnp_device_action_worker), 0)
            ExQueueWorkItem(nt, self.item, DELAYED_WORK_QUEUE)


def pnp_device_action_worker(nt: Kernel, Context: int) -> None:
    """The worker of the device-action queue, at PASSIVE_LEVEL."""
    state = pnp(nt)
    while state.actions:
        action = state.actions.pop(0)
        with state.locked():
            action()
    state.working = False


def pnp(nt: Kernel) -> Pnp:
    """The PnP manager of the machine; runs in a thread the first time."""
    if nt.pnp is None:
        from ntsim.nt.pnp.bus import pnp_create_root

        nt.pnp = Pnp(nt)
        pnp_create_root(nt, nt.pnp)
    return nt.pnp  # type: ignore[no-any-return]


def pnp_node(nt: Kernel, device: Any) -> Any:
    """The device node of a PDO; NULL for any other device."""
    address = 0
    if device:
        extension = device._v.DeviceObjectExtension
        address = DEVOBJ_EXTENSION.at(nt.mmu, extension)._v.DeviceNode if extension else 0
    return DEVICE_NODE.at(nt.mmu, address)


def pnp_require_pdo(nt: Kernel, device: Any) -> Any:
    """The node of a PDO; 0xCA/2 if the device is none. Source: bug check 0xCA reference."""
    node = pnp_node(nt, device) if nt.ob.is_object(int(device)) else 0
    if not node:
        driver = DEVICE_OBJECT.at(nt.mmu, int(device))._v.DriverObject if device else 0
        nt.bugcheck(bugcodes.PNP_DETECTED_FATAL_ERROR, INVALID_PDO, int(device), driver, 0)
    return node


def pnp_queue(nt: Kernel, routine: Callable[..., None], *arguments: Any) -> None:
    """Queue a device action."""
    pnp(nt).queue(partial(routine, nt, *arguments))
