"""Devices that a test plugs into the machine's root bus: `Machine.plug` and what it returns.

A Device is a handle to a device node. Its methods do what somebody outside the machine does: ask
for removal in Device Manager, pull the card out, switch its power, raise the interrupt line. They
run the machine until the PnP manager has nothing left to do.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from ntsim.abi import ntstatus
from ntsim.abi import wdm_constants as c
from ntsim.abi.io import DRIVER_EXTENSION
from ntsim.errors import ConfigurationError
from ntsim.nt.hal.interrupt import hal_raise_line
from ntsim.nt.io.driver import Driver
from ntsim.nt.pnp import node as n
from ntsim.nt.pnp.actions import pnp_cancel_stop, pnp_query_stop, pnp_stop
from ntsim.nt.pnp.bus import pnp_new_pdo
from ntsim.nt.pnp.enumerate import pnp_enumerate, pnp_set_up
from ntsim.nt.pnp.hardware import Hardware, hal_wire
from ntsim.nt.pnp.query import pnp_get
from ntsim.nt.pnp.remove import pnp_cancel_remove, pnp_query_remove, pnp_remove
from ntsim.nt.pnp.start import pnp_start
from ntsim.nt.pnp.state import CRITICAL_DEVICES, ENUM, pnp
from ntsim.nt.po.request import po_send_and_wait

if TYPE_CHECKING:
    from ntsim.nt.kernel import Kernel

SUCCESS = ntstatus.STATUS_SUCCESS
Filters = dict[str, tuple[str, ...]]

STATES = {"D0": 1, "D1": 2, "D2": 3, "D3": 4, "S0": 1, "S1": 2, "S2": 3, "S3": 4, "S4": 5, "S5": 6}
"""DEVICE_POWER_STATE and SYSTEM_POWER_STATE by name."""


class Bus:
    """What a device's model does on its bus: it is given one before the device appears, as
    `model.attach(bus)`, if it has that method."""

    def __init__(self, nt: Kernel, hardware: Hardware) -> None:
        self._nt, self._hardware = nt, hardware

    def dma_read(self, address: int, size: int) -> bytes:
        """`size` bytes at a logical address; ones where no memory answers."""
        there, ram = _answered(self._nt, address, size), self._nt.mm.ram
        return (ram.read(address, there) if there else b"") + b"\xff" * (size - there)

    def dma_write(self, address: int, data: bytes) -> None:
        """Store at a logical address; what no memory answers is lost."""
        there = _answered(self._nt, address, len(data))
        if there:
            self._nt.mm.system.expose(address, there)
            self._nt.mm.ram.write(address, data[:there])
            self._nt.il.progress += 1

    def interrupt(self, line: int = 0) -> None:
        """Raise the interrupt line with this index."""
        hal_raise_line(self._nt, self._hardware, self._hardware.lines[line])


def _answered(nt: Kernel, address: int, size: int) -> int:
    """How many bytes from a physical address on are memory."""
    return max(0, min(size, nt.mm.ram.size - address)) if address >= 0 else 0


class Owner(Protocol):
    """What a Device needs of its Machine."""

    nt: Kernel

    def _settled(self, work: Callable[[], Any]) -> Any: ...


class Device:
    """A device on the machine. Methods named after IRPs return the NTSTATUS that came of them."""

    def __init__(self, machine: Owner, node: Any) -> None:
        self._machine, self._node = machine, node
        self.instance_path: str = n.pip_instance_path(machine.nt, node)
        self.pdo = int(node.PhysicalDeviceObject)

    def __repr__(self) -> str:
        return f"<device {self.instance_path}: {self.state}>"

    @property
    def _nt(self) -> Kernel:
        return self._machine.nt

    @property
    def present(self) -> bool:
        """Whether the device is in the PnP manager's tree."""
        return bool(self._nt.pnp.nodes.get(self.pdo) == self._node)

    @property
    def state(self) -> str:
        """As !devnode shows it: "Started", "Stopped", "Removed", ...; "Deleted" once it is gone."""
        return n.STATE_NAMES[self._node._v.State] if self.present else "Deleted"

    @property
    def problem(self) -> int:
        """CM_PROB_* as Device Manager shows it (10: cannot start), 0 if there is none."""
        return int(self._node._v.Problem) if self.present else 0

    @property
    def children(self) -> tuple[Device, ...]:
        """The devices that this one's driver has reported."""
        found = n.pip_children(self._node) if self.present else []
        return tuple(Device(self._machine, child) for child in found)

    def _do(self, routine: Callable[..., Any], *arguments: Any) -> int:
        if not self.present:
            raise ConfigurationError(f"{self.instance_path} is gone: plug in another")
        work = partial(under_lock, self._nt, routine, self._node, *arguments)
        return int(self._machine._settled(work) or 0)

    def start(self) -> int:
        """Start a device that is stopped or was removed."""
        return self._do(start_again)

    def query_stop(self) -> int:
        """IRP_MN_QUERY_STOP_DEVICE; a veto is followed by the cancel IRP."""
        return self._do(pnp_query_stop)

    def cancel_stop(self) -> int:
        """IRP_MN_CANCEL_STOP_DEVICE."""
        return self._do(pnp_cancel_stop)

    def stop(self) -> int:
        """IRP_MN_STOP_DEVICE, after the query if that has not been asked; the veto's status."""
        return self._do(stop_asking_first)

    def query_remove(self) -> int:
        """IRP_MN_QUERY_REMOVE_DEVICE for the device and all below it."""
        return self._do(pnp_query_remove)

    def cancel_remove(self) -> int:
        """IRP_MN_CANCEL_REMOVE_DEVICE."""
        return self._do(cancel_subtree)

    def remove(self) -> int:
        """Remove as Device Manager does: the query if need be, then IRP_MN_REMOVE_DEVICE.

        A veto's status comes back and the device stays started.
        """
        return self._do(remove_asking_first)

    def surprise_remove(self) -> int:
        """Pull it out. IRP_MN_REMOVE_DEVICE waits for the last handle to close."""
        return self._do(pull_out)

    def power(self, state: str, *, query: bool = False) -> int:
        """IRP_MN_SET_POWER or QUERY_POWER to this stack: "D0" to "D3", "S0" to "S5"."""
        if state not in STATES:
            raise ConfigurationError(f"power({state!r}): use one of {', '.join(STATES)}")

        kind = c.DevicePowerState if state[0] == "D" else c.SystemPowerState
        minor = c.IRP_MN_QUERY_POWER if query else c.IRP_MN_SET_POWER
        return self._do(po_send_and_wait, minor, kind, STATES[state])

    def interrupt(self, line: int = 0) -> None:
        """Raise the device's interrupt line (an index into `interrupts`); handled as the machine
        runs."""
        hardware = self._nt.pnp.hardware.get(self.pdo)
        if hardware is None or not 0 <= line < len(hardware.lines):
            raise ConfigurationError(f"{self.instance_path} has no interrupt line {line}")
        hal_raise_line(self._nt, hardware, hardware.lines[line])

    def dma_read(self, address: int, size: int) -> bytes:
        """What the device reads at a logical address: ones where no memory answers."""
        return self._bus().dma_read(address, size)

    def dma_write(self, address: int, data: bytes) -> None:
        """The device stores at a logical address; what no memory answers is lost."""
        self._bus().dma_write(address, data)

    def _bus(self) -> Bus:
        hardware = self._nt.pnp.hardware.get(self.pdo)
        if hardware is None:
            raise ConfigurationError(f"{self.instance_path} is gone: plug in another")
        return Bus(self._nt, hardware)


def sleep_state(name: str) -> int:
    """SYSTEM_POWER_STATE of "S1" to "S4"."""
    if name not in ("S1", "S2", "S3", "S4"):
        raise ConfigurationError(f"sleep({name!r}): use S1, S2, S3 or S4")
    return STATES[name]


PROPERTIES = (
    "ports memory interrupts latched model compatible_ids description location capabilities "
    "instance upper_filters lower_filters"
).split()


def hardware_of(
    hardware_id: str, given: dict[str, Any]
) -> tuple[Hardware, tuple[int, ...], Filters]:
    """The hardware that `plug` describes, sizes of its register ranges, its filters."""
    unknown = sorted(set(given) - set(PROPERTIES))
    if unknown:
        raise ConfigurationError(f"plug({unknown[0]}=...): there are {', '.join(PROPERTIES)}")
    if not hardware_id or any(not " " < each <= "\x7f" or each == "," for each in hardware_id):
        raise ConfigurationError(f"hardware ID {hardware_id!r}: use printable ASCII, no comma")
    lines = _numbers(given.get("interrupts", ()), "interrupts")
    hardware = Hardware(
        hardware_id,
        compatible_ids=tuple(given.get("compatible_ids", ())),
        ports=tuple((int(first), int(count)) for first, count in given.get("ports", ())),
        lines=lines,
        latched=bool(given.get("latched", False)),
        model=given.get("model"),
        description=str(given.get("description", "")),
        location=str(given.get("location", "")),
        capabilities=int(given.get("capabilities", 0)),
        instance=str(given.get("instance", "")),
    )
    filters = {
        name: tuple(each.service for each in given.get(key, ()))
        for name, key in (("UpperFilters", "upper_filters"), ("LowerFilters", "lower_filters"))
    }
    return hardware, _numbers(given.get("memory", ()), "memory"), filters


def _numbers(given: Iterable[int], name: str) -> tuple[int, ...]:
    if isinstance(given, int):
        raise ConfigurationError(f"{name}={given}: a tuple is needed, {name}=({given},)")
    return tuple(int(each) for each in given)


def plug_in(nt: Kernel, hardware: Hardware, sizes: Sequence[int], filters: Filters) -> Any:
    """In a system thread: the PDO appears on the bus, which is enumerated; its node."""
    state = pnp(nt)
    with state.locked():
        alike = [h for h in state.hardware.values() if h.hardware_id == hardware.hardware_id]
        hardware.instance = hardware.instance or f"{len(alike):04}"
        hal_wire(nt, hardware, tuple(sizes))
        key = f"{ENUM}\\{hardware.hardware_id}\\{hardware.instance}"
        for name, services in filters.items():
            if services:
                nt.cm.set(key, name, list(services))
        attach = getattr(hardware.model, "attach", None)
        if attach is not None:
            attach(Bus(nt, hardware))
        pdo = pnp_new_pdo(nt, state)
        state.hardware[int(pdo)] = hardware
        pnp_enumerate(nt, state.root)
        return state.nodes[int(pdo)]


def bind_driver(nt: Kernel, hardware_id: str, driver: Driver) -> None:
    """In a system thread: note the match, and start devices that waited for it."""
    if not isinstance(driver, Driver) or driver.unloaded:
        raise ConfigurationError(f"{driver!r} is no driver that is loaded on this machine")
    if not DRIVER_EXTENSION.at(nt.mmu, driver.object._v.DriverExtension)._v.AddDevice:
        raise ConfigurationError(
            f"{driver.image.file_name} has no AddDevice: its DriverEntry must set "
            "DriverObject.DriverExtension.AddDevice to drive devices"
        )
    key = f"{CRITICAL_DEVICES}\\{hardware_id.replace(chr(92), '#')}"
    nt.cm.set(key, "Service", driver.service)
    state = pnp(nt)
    with state.locked():
        nodes = state.nodes.values()
        for node in [each for each in nodes if each._v.Problem == n.PROBLEM_NOT_CONFIGURED]:
            ids = pnp_get(nt, node, "HardwareID")
            if isinstance(ids, list) and hardware_id in ids:
                pnp_set_up(nt, node)


def under_lock(nt: Kernel, routine: Callable[..., Any], node: Any, *arguments: Any) -> Any:
    """Do something to a device while nobody else changes the tree."""
    with pnp(nt).locked():
        return routine(nt, node, *arguments)


def start_again(nt: Kernel, node: Any) -> int:
    """From Stopped only START_DEVICE is needed; a removed device gets new drivers."""
    if node._v.State == n.STOPPED:
        if pnp_start(nt, node):
            pnp_enumerate(nt, node)
    elif node._v.State != n.STARTED:
        pnp_set_up(nt, node)
    status: int = node._v.ProblemStatus
    return status


def stop_asking_first(nt: Kernel, node: Any) -> int:
    """QUERY_STOP, then STOP."""
    if node._v.State != n.QUERY_STOPPED:
        status = pnp_query_stop(nt, node)
        if not ntstatus.NT_SUCCESS(status):
            return status
    return pnp_stop(nt, node)


def remove_asking_first(nt: Kernel, node: Any) -> int:
    """QUERY_REMOVE, then REMOVE."""
    if node._v.State != n.QUERY_REMOVED:
        status = pnp_query_remove(nt, node)
        if not ntstatus.NT_SUCCESS(status):
            return status
    pnp_remove(nt, node)
    return SUCCESS


def cancel_subtree(nt: Kernel, node: Any) -> int:
    """CANCEL_REMOVE for all that were asked."""
    asked = [each for each in n.pip_subtree(node) if each._v.State == n.QUERY_REMOVED]
    pnp_cancel_remove(nt, asked)
    return SUCCESS


def pull_out(nt: Kernel, node: Any) -> int:
    """The hardware is gone: its bus notices."""
    hardware = nt.pnp.hardware.get(int(node.PhysicalDeviceObject))
    if hardware is None:
        raise ConfigurationError("the device is on another driver's bus: pull it out there")
    hardware.present = False
    pnp_enumerate(nt, node.Parent)
    return SUCCESS
