"""The system's sleep: query, set, and back, through the whole tree of devices.

Down: IRP_MN_QUERY_POWER then IRP_MN_SET_POWER to every started device, children before parents; if
one refuses the query, those that agreed get SET_POWER for the working state. Up: parents first. The
callback object PowerState hears of it before and after. Source: WDK "System Power Actions",
"Handling IRP_MN_QUERY_POWER for System Power States", "Using a System-Defined Callback Object".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ntsim.abi import ntstatus
from ntsim.abi import wdm_constants as c
from ntsim.abi.pnp import POP_IRP_DATA
from ntsim.abi.scalars import BOOLEAN, PVOID, ULONG
from ntsim.nt.ex.callback import ExNotifyCallback
from ntsim.nt.exports import export
from ntsim.nt.io.shutdown import io_shutdown_system
from ntsim.nt.ob.namespace import ob_lookup
from ntsim.nt.pnp.node import STARTED, pip_subtree
from ntsim.nt.pnp.state import pnp
from ntsim.nt.po.request import po_send_and_wait
from ntsim.nt.po.state import po
from ntsim.nt.rtl import lists

if TYPE_CHECKING:
    from ntsim.abi.io import PIRP
    from ntsim.nt.kernel import Kernel

PO_CB_SYSTEM_STATE_LOCK = 3
ES_CONTINUOUS = 0x8000_0000
ACTIONS = {
    c.PowerSystemHibernate: c.PowerActionHibernate,
    c.PowerSystemShutdown: c.PowerActionShutdownOff,
}


def pop_notify(nt: Kernel, leaving: bool) -> None:
    """The PowerState callback object: about to leave S0 (0), or back in it (1)."""
    body = ob_lookup(nt, "\\Callback\\PowerState").body
    if body:
        ExNotifyCallback(nt, body, PO_CB_SYSTEM_STATE_LOCK, 0 if leaving else 1)


def pop_started(nt: Kernel) -> list[Any]:
    """Every started device but the root, children before their parents."""
    state = pnp(nt)
    return [n for n in pip_subtree(state.root) if n != state.root and n._v.State == STARTED]


def po_sleep(nt: Kernel, state: int) -> int:
    """Put the system to sleep: 0, or the status of a device that refused."""
    manager = po(nt)
    action = ACTIONS.get(state, c.PowerActionSleep)
    with pnp(nt).locked():
        pop_notify(nt, True)
        agreed: list[Any] = []
        kind = c.SystemPowerState
        for node in pop_started(nt):
            status = po_send_and_wait(nt, node, c.IRP_MN_QUERY_POWER, kind, state, action)
            if not ntstatus.NT_SUCCESS(status) and status != ntstatus.STATUS_NOT_SUPPORTED:
                pop_set_all(nt, agreed[::-1], c.PowerSystemWorking, action)
                pop_notify(nt, False)
                return status
            agreed.append(node)
        pop_set_all(nt, agreed, state, action)
        manager.system_state = state
    return ntstatus.STATUS_SUCCESS


def po_shut_down(nt: Kernel) -> None:
    """IRP_MJ_SHUTDOWN to the devices registered for it, then S5, which nobody can refuse."""
    io_shutdown_system(nt)
    with pnp(nt).locked():
        pop_notify(nt, True)
        pop_set_all(nt, pop_started(nt), c.PowerSystemShutdown, c.PowerActionShutdownOff)
        po(nt).system_state = c.PowerSystemShutdown


def po_wake(nt: Kernel) -> int:
    """Back to S0, parents before their children."""
    with pnp(nt).locked():
        pop_set_all(nt, pop_started(nt)[::-1], c.PowerSystemWorking, c.PowerActionNone)
        po(nt).system_state = c.PowerSystemWorking
        pop_notify(nt, False)
    return ntstatus.STATUS_SUCCESS


def pop_set_all(nt: Kernel, nodes: list[Any], state: int, action: int) -> None:
    for node in nodes:
        po_send_and_wait(nt, node, c.IRP_MN_SET_POWER, c.SystemPowerState, state, action)


@export(irql="<= APC")
def PoRegisterSystemState(nt: Kernel, StateHandle: PVOID, Flags: ULONG) -> PVOID:
    """Say that the system is busy (ES_CONTINUOUS and others) until the handle is unregistered.

    Only automatic sleep would heed it, which is not modelled. Source: WDK PoRegisterSystemState.
    """
    handles = po(nt).handles
    handle = int(StateHandle) or nt.allocate_pool(0x10, "PoSs")
    if handle:
        handles[handle] = Flags | ES_CONTINUOUS
    return handle


@export(irql="<= APC")
def PoUnregisterSystemState(nt: Kernel, StateHandle: PVOID) -> None:
    """The driver is no longer busy. Source: WDK PoUnregisterSystemState."""
    if po(nt).handles.pop(int(StateHandle), None) is not None:
        nt.free_pool(int(StateHandle))


@export(irql="<= DISPATCH")
def PoSetSystemState(nt: Kernel, Flags: ULONG) -> None:
    """The system was used: restart its idle time, which is not modelled. Source: WDK."""


@export(irql="<= DISPATCH")
def PoSetSystemWake(nt: Kernel, Irp: PIRP) -> None:
    """This IRP_MN_WAIT_WAKE woke the system. Source: WDK PoSetSystemWake."""
    _wake_mark(nt, Irp, True)


@export(irql="<= DISPATCH")
def PoGetSystemWake(nt: Kernel, Irp: PIRP) -> BOOLEAN:
    """Whether PoSetSystemWake was called for the IRP. Source: WDK PoGetSystemWake."""
    return _wake_mark(nt, Irp, False)


def _wake_mark(nt: Kernel, irp: Any, mark: bool) -> bool:
    for entry in lists.entries(nt.mmu, po(nt).irps):
        v = POP_IRP_DATA.at(nt.mmu, entry)._v
        if v.Irp == int(irp):
            v.SystemWake = v.SystemWake or int(mark)
            return bool(v.SystemWake)
    return False
