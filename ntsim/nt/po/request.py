"""Power IRPs: PoRequestPowerIrp, and what the power manager sends itself.

Each IRP has a POP_IRP_DATA in the power manager's list, with a watchdog: a driver that holds one
for ten minutes is 0x9F/3 (PDO, TRIAGE_9F_POWER, IRP). Device IRPs of one stack are sent one after
the other. A stack whose top has DO_POWER_PAGABLE gets them at PASSIVE_LEVEL, by a worker if need
be; without it, an IRP that powers up comes at DISPATCH_LEVEL. Source: WDK PoRequestPowerIrp,
"Sending IRP_MN_QUERY_POWER or IRP_MN_SET_POWER for Device Power States", DEVICE_OBJECT
(DO_POWER_PAGABLE); bug check 0x9F reference.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ntsim.abi import bugcodes, ntstatus
from ntsim.abi import wdm_constants as c
from ntsim.abi.ex import WORK_QUEUE_ITEM
from ntsim.abi.io import DEVICE_OBJECT, DEVOBJ_EXTENSION
from ntsim.abi.ke import KEVENT
from ntsim.abi.pnp import POP_IRP_DATA, TRIAGE_9F_POWER
from ntsim.abi.scalars import BOOLEAN, NTSTATUS, PVOID, UCHAR, ULONG
from ntsim.nt.events import PowerIrpSent
from ntsim.nt.ex.work import ExInitializeWorkItem, ExQueueWorkItem
from ntsim.nt.exports import Out, OutOpt, export
from ntsim.nt.io.call import IofCallDriver
from ntsim.nt.io.device import iop_top_of
from ntsim.nt.io.irp import (
    LOCATION,
    IoSetCompletionRoutine,
    io_allocate_irp,
    io_current_location,
    io_free_irp,
    io_next_location,
)
from ntsim.nt.ke.dpc import KeInitializeDpc
from ntsim.nt.ke.irql import DISPATCH_LEVEL, set_irql
from ntsim.nt.ke.objects import KeInitializeEvent, KeSetEvent
from ntsim.nt.ke.timer import KeInitializeTimer, ke_set_timer
from ntsim.nt.ke.wait import NOTIFICATION_EVENT, WAIT_ANY, ki_wait
from ntsim.nt.po.state import PowerStateValue, po, power_state
from ntsim.nt.rtl import lists

if TYPE_CHECKING:
    from ntsim.abi.io import PDEVICE_OBJECT, PIRP
    from ntsim.nt.kernel import Kernel

WATCHDOG_100NS = 600 * 10_000_000
FREED_WITH_POWER_IRP, BLOCKED_TOO_LONG = 1, 3
TRIAGE_SIGNATURE = 0x8000
NAMES = {c.IRP_MN_WAIT_WAKE: "WAIT_WAKE", c.IRP_MN_SET_POWER: "SET_POWER"} | {
    c.IRP_MN_QUERY_POWER: "QUERY_POWER"
}


def pop_base(nt: Kernel, device: Any) -> Any:
    """The bottom of a device's stack."""
    while below := DEVOBJ_EXTENSION.at(nt.mmu, device._v.DeviceObjectExtension)._v.AttachedTo:
        device = DEVICE_OBJECT.at(nt.mmu, below)
    return device


def pop_request(
    nt: Kernel,
    device: Any,
    minor: int,
    kind: int,
    state: int,
    completion: int = 0,
    context: int = 0,
    *,
    finished: Callable[[int], None] | None = None,
    action: int = c.PowerActionNone,
) -> Any:
    """Make a power IRP for the stack of `device` and send it, or queue it behind another one.

    NULL if memory is short. `finished` is called with the status, at the level of the completion.
    """
    top = iop_top_of(nt, device)
    irp = io_allocate_irp(nt, top._v.StackSize + 1)
    address = nt.allocate_pool(POP_IRP_DATA.size, "PoPd") if irp else 0
    if not address:
        return nt.io.irp_at(0)
    nt.mmu.write(address, bytes(POP_IRP_DATA.size))
    data = POP_IRP_DATA.at(nt.mmu, address)
    manager = po(nt)
    manager.sequence += 1
    v = data._v
    pdo = pop_base(nt, device)
    v.Irp, v.Pdo, v.TargetDevice = int(irp), int(pdo), int(top)
    v.MinorFunction, v.PowerStateType, v.IrpSequenceID = minor, kind, manager.sequence
    v.PowerState_DeviceState = state
    v.CallerCompletion, v.CallerContext, v.CallerDevice = completion, context, int(device)
    if finished is not None:
        manager.finished[address] = finished
    nt.ob.reference(int(top))
    nt.ob.reference(int(pdo))
    pop_fill(nt, irp, data, action)
    if kind == c.DevicePowerState and minor != c.IRP_MN_WAIT_WAKE:
        queue = manager.waiting.setdefault(int(pdo), [])
        queue.append(address)
        if len(queue) > 1:
            lists.insert_tail(nt.mmu, manager.irps, address)
            return irp
    lists.insert_tail(nt.mmu, manager.irps, address)
    pop_present(nt, data)
    return irp


def pop_fill(nt: Kernel, irp: Any, data: Any, action: int) -> None:
    """The power manager's own location on top, then the first driver's."""
    v, d = irp._v, data._v
    v.CurrentLocation -= 1
    v.Tail_Overlay_CurrentStackLocation -= LOCATION
    v.IoStatus_Status = ntstatus.STATUS_NOT_SUPPORTED
    stack = io_next_location(nt, irp)._v
    stack.MajorFunction, stack.MinorFunction = c.IRP_MJ_POWER, d.MinorFunction
    if d.MinorFunction == c.IRP_MN_WAIT_WAKE:
        stack.Parameters_WaitWake_PowerState = d.PowerState_DeviceState
    else:
        stack.Parameters_Power_Type = d.PowerStateType
        stack.Parameters_Power_State_DeviceState = d.PowerState_DeviceState
        stack.Parameters_Power_ShutdownType = action
        current, target = po(nt).system_state, d.PowerState_SystemState
        if d.PowerStateType == c.SystemPowerState:
            context = target << 8 | target << 12 | current << 16
            stack.Parameters_Power_SystemContext = context
    routine = nt.internal_address(pop_complete_irp)
    IoSetCompletionRoutine(nt, irp, routine, int(data), True, True, True)


def pop_is_passive(nt: Kernel, data: Any) -> bool:
    """Whether an IRP has to come at PASSIVE_LEVEL: all but one that powers up resident drivers."""
    v = data._v
    top = DEVICE_OBJECT.at(nt.mmu, v.TargetDevice)
    up = v.MinorFunction == c.IRP_MN_SET_POWER and v.PowerState_DeviceState == c.PowerDeviceD0
    return not up or bool(top._v.Flags & c.DO_POWER_PAGABLE)


def pop_present(nt: Kernel, data: Any) -> None:
    """Send an IRP at the level it has to come at, and start its watchdog."""
    passive = pop_is_passive(nt, data)
    level = nt.il.current.cr8
    if passive and level:
        item = WORK_QUEUE_ITEM.at(nt.mmu, nt.allocate_pool(WORK_QUEUE_ITEM.size, "PoWi"))
        ExInitializeWorkItem(nt, item, nt.internal_address(pop_irp_worker), int(item))
        po(nt).handed_over[int(item)] = data
        ExQueueWorkItem(nt, item, c.SuperCriticalWorkQueue)
        return
    if passive:
        pop_send(nt, data)
        return
    old = set_irql(nt, max(DISPATCH_LEVEL, level), "PopPresentIrp")
    pop_send(nt, data)
    set_irql(nt, old, "PopPresentIrp")


def pop_irp_worker(nt: Kernel, Item: int) -> None:
    """A worker thread sends an IRP that was requested at a raised level."""
    data = po(nt).handed_over.pop(int(Item))
    nt.free_pool(int(Item))
    pop_send(nt, data)


def pop_send(nt: Kernel, data: Any) -> None:
    """IoCallDriver with the watchdog running; the driver may free `data` by completing."""
    v = data._v
    if v.MinorFunction != c.IRP_MN_WAIT_WAKE:
        KeInitializeTimer(nt, data.WatchdogTimer)
        routine = nt.internal_address(pop_irp_watchdog)
        KeInitializeDpc(nt, data.WatchdogDpc, routine, int(data))
        v.WatchdogStart, v.WatchdogEnabled = nt.il.now, 1
        ke_set_timer(nt, data.WatchdogTimer, -WATCHDOG_100NS, 0, int(data.WatchdogDpc))
    letter = "S" if v.PowerStateType == c.SystemPowerState else "D"
    text = f"{NAMES[v.MinorFunction]} {letter}{v.PowerState_DeviceState - 1}"
    nt.emit(PowerIrpSent, v.Irp, text, v.TargetDevice)
    IofCallDriver(nt, DEVICE_OBJECT.at(nt.mmu, v.TargetDevice), nt.io.irp_at(v.Irp))


def pop_irp_watchdog(nt: Kernel, Dpc: int, Context: int, One: int, Two: int) -> None:
    """Ten minutes have passed: 0x9F/3."""
    v = POP_IRP_DATA.at(nt.mmu, int(Context))._v
    triage = nt.allocate_pool(TRIAGE_9F_POWER.size, "PoTr")
    nt.mmu.write(triage, bytes(TRIAGE_9F_POWER.size))
    t = TRIAGE_9F_POWER.at(nt.mmu, triage)._v
    t.Signature, t.Revision, t.IrpList = TRIAGE_SIGNATURE, 1, po(nt).irps
    code = bugcodes.DRIVER_POWER_STATE_FAILURE
    nt.bugcheck(code, BLOCKED_TOO_LONG, v.Pdo, triage, v.Irp)


def pop_complete_irp(nt: Kernel, DeviceObject: int, Irp: int, Context: int) -> int:
    """Completion routine of every power IRP of the power manager's: tell the requester."""
    data = POP_IRP_DATA.at(nt.mmu, int(Context))
    irp = nt.io.irp_at(int(Irp))
    v = data._v
    manager = po(nt)
    if v.WatchdogEnabled:
        nt.ke.timers.cancel(data.WatchdogTimer)
    lists.remove(nt.mmu, int(data))
    status = irp._v.IoStatus_Status
    if v.CallerCompletion:
        state = PowerStateValue(v.PowerState_DeviceState)
        device = DEVICE_OBJECT.at(nt.mmu, v.CallerDevice)
        nt.call(
            v.CallerCompletion, device, v.MinorFunction, state, v.CallerContext, irp.IoStatus
        )
    pdo, top = v.Pdo, v.TargetDevice
    finished = manager.finished.pop(int(data), None)
    queue = manager.waiting.get(pdo, [])
    io_free_irp(nt, irp)
    following = 0
    if int(data) in queue:
        queue.remove(int(data))
        following = queue[0] if queue else 0
    nt.free_pool(int(data))
    if finished is not None:
        finished(status)
    if following:
        pop_present(nt, POP_IRP_DATA.at(nt.mmu, following))
    nt.ob.dereference(top)
    nt.ob.dereference(pdo)
    return ntstatus.STATUS_MORE_PROCESSING_REQUIRED


@export(irql="<= DISPATCH")
def PoRequestPowerIrp(
    nt: Kernel,
    DeviceObject: PDEVICE_OBJECT,
    MinorFunction: UCHAR,
    PowerState: Any,
    CompletionFunction: PVOID,
    Context: PVOID,
    Irp: OutOpt[PIRP],
) -> NTSTATUS:
    """Send a power IRP to the top of the device's own stack; STATUS_PENDING if it was sent.

    CompletionFunction(DeviceObject, MinorFunction, PowerState, Context, IoStatus) is called when
    every driver is done with it. STATUS_INVALID_PARAMETER_2 for a minor code that cannot be
    requested. Source: WDK PoRequestPowerIrp.
    """
    if MinorFunction not in NAMES:
        return ntstatus.STATUS_INVALID_PARAMETER_2
    kind = c.SystemPowerState if MinorFunction == c.IRP_MN_WAIT_WAKE else c.DevicePowerState
    state = power_state(PowerState)
    irp = pop_request(nt, DeviceObject, MinorFunction, kind, state, CompletionFunction, Context)
    if not irp:
        return ntstatus.STATUS_INSUFFICIENT_RESOURCES
    if Irp:
        Irp[0] = irp
    return ntstatus.STATUS_PENDING


@export(irql="<= DISPATCH")
def PoQueryWatchdogTime(
    nt: Kernel, Pdo: PDEVICE_OBJECT, SecondsRemaining: Out[ULONG]
) -> BOOLEAN:
    """The seconds until the first watchdog of the stack's power IRPs; FALSE if none runs.

    Source: WDK PoQueryWatchdogTime.
    """
    ends = []
    for entry in lists.entries(nt.mmu, po(nt).irps):
        v = POP_IRP_DATA.at(nt.mmu, entry)._v
        if v.Pdo == int(Pdo) and v.WatchdogEnabled:
            ends.append(v.WatchdogStart + WATCHDOG_100NS)
    SecondsRemaining[0] = max(0, min(ends) - nt.il.now) // 10_000_000 if ends else 0
    return bool(ends)


def po_send_and_wait(
    nt: Kernel, node: Any, minor: int, kind: int, state: int, action: int = c.PowerActionNone
) -> int:
    """A power IRP of the system's own for a device node's stack, and wait for it: its status."""
    event = KEVENT.at(nt.mmu, nt.allocate_pool(KEVENT.size, "PoEv"))
    KeInitializeEvent(nt, event, NOTIFICATION_EVENT, False)
    results: list[int] = []

    def finished(status: int) -> None:
        results.append(status)
        KeSetEvent(nt, event, 0, False)

    pdo = node.PhysicalDeviceObject
    irp = pop_request(nt, pdo, minor, kind, state, finished=finished, action=action)
    assert irp, "no memory for an IRP of the power manager"
    ki_wait(nt, [int(event)], WAIT_ANY, 0, 0, False, None)
    nt.free_pool(int(event))
    return results[0]


def pop_check_deleted_device(nt: Kernel, device: Any) -> None:
    """IoDeleteDevice of a device that holds a power IRP: 0x9F/1."""
    for entry in lists.entries(nt.mmu, nt.po.irps):
        irp = nt.io.irp_at(POP_IRP_DATA.at(nt.mmu, entry)._v.Irp)
        if irp._v.CurrentLocation <= irp._v.StackCount:
            holder = io_current_location(nt, irp)._v.DeviceObject
            if holder == int(device):
                code = bugcodes.DRIVER_POWER_STATE_FAILURE
                nt.bugcheck(code, FREED_WITH_POWER_IRP, int(device), 0, 0)
