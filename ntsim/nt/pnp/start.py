"""AddDevice for each driver of a stack, resources, START_DEVICE and what follows it.

Order: AddDevice of lower filters, function driver, upper filters; FILTER_RESOURCE_REQUIREMENTS;
START_DEVICE; QUERY_CAPABILITIES; QUERY_PNP_DEVICE_STATE. A function driver whose AddDevice fails,
or a stack that fails to start, gets IRP_MN_REMOVE_DEVICE and the node a problem code. Source: WDK
"Adding a PnP Device to a Running System", AddDevice, IRP_MN_START_DEVICE; devmgmt problem codes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ntsim.abi import ntstatus
from ntsim.abi import wdm_constants as c
from ntsim.abi.io import DRIVER_EXTENSION
from ntsim.abi.pnp import CAPABILITY_RAW_DEVICE_OK
from ntsim.errors import DriverLoadError
from ntsim.nt.ex.allocate import ExFreePool
from ntsim.nt.io.device import iop_top_of
from ntsim.nt.io.driver import Driver
from ntsim.nt.io.load import iop_find_driver
from ntsim.nt.pnp import node as n
from ntsim.nt.pnp.interfaces import pnp_started
from ntsim.nt.pnp.irp import iop_synchronous_call
from ntsim.nt.pnp.query import pnp_enum_key, pnp_get, pnp_query_capabilities, pnp_set
from ntsim.nt.pnp.remove import pnp_remove_stack, pnp_unload_idle
from ntsim.nt.pnp.resources import pnp_assign
from ntsim.nt.pnp.state import CRITICAL_DEVICES
from ntsim.nt.vf.finding import vf_report

if TYPE_CHECKING:
    from ntsim.nt.kernel import Kernel

SERVICES = "\\Registry\\Machine\\SYSTEM\\CurrentControlSet\\Services"


def pnp_match(nt: Kernel, node: Any) -> str:
    """The service of a device: what its Enum key says, else the best match of its IDs."""
    service = pnp_get(nt, node, "Service")
    if isinstance(service, str):
        return service
    for kind in ("HardwareID", "CompatibleIDs"):
        ids = pnp_get(nt, node, kind)
        for each in ids if isinstance(ids, list) else ():
            found = nt.cm.get(f"{CRITICAL_DEVICES}\\{each.replace(chr(92), '#')}", "Service")
            if isinstance(found, str):
                key = pnp_enum_key(nt, node)
                assert key is not None
                pnp_set(nt, key, "Service", found)
                return found
    return ""


def pnp_driver(nt: Kernel, service: str) -> Driver | None:
    """The driver of a service, loaded if it is not; None if it cannot be."""
    found = iop_find_driver(nt, service)
    if found is not None and not found.unloaded:
        return found
    path = nt.cm.get(f"{SERVICES}\\{service}", "ImagePath")
    if not isinstance(path, str) or nt.io.loader is None:
        return None
    try:
        loaded = nt.io.loader(path, service)
    except DriverLoadError as error:
        nt.io.load_error = error
        return None
    return loaded if ntstatus.NT_SUCCESS(loaded.status) else None


def pnp_stack(nt: Kernel, node: Any, service: str) -> list[tuple[str, bool]]:
    """The services of a device's drivers, from below, and whether each is the function driver."""
    names = {}
    for kind in ("LowerFilters", "UpperFilters"):
        found = pnp_get(nt, node, kind)
        names[kind] = found if isinstance(found, list) else []
    lower = [(each, False) for each in names["LowerFilters"]]
    upper = [(each, False) for each in names["UpperFilters"]]
    return [*lower, *([(service, True)] if service else []), *upper]


def pnp_add_device(nt: Kernel, driver: Driver, node: Any) -> int:
    """Call a driver's AddDevice."""
    routine = DRIVER_EXTENSION.at(nt.mmu, driver.object._v.DriverExtension)._v.AddDevice
    if not routine:
        return ntstatus.STATUS_INVALID_DEVICE_REQUEST
    pdo = node.PhysicalDeviceObject
    below = iop_top_of(nt, pdo)
    status = nt.call(routine, driver.object, pdo) & 0xFFFF_FFFF
    if nt.verifier is not None and ntstatus.NT_SUCCESS(status):
        nt.verifier.io.added(driver, routine, below, pdo)
    top = iop_top_of(nt, pdo)
    if ntstatus.NT_SUCCESS(status) and top._v.Flags & c.DO_DEVICE_INITIALIZING:
        text = (
            f"{driver.name} left DO_DEVICE_INITIALIZING set in the device that its AddDevice made: "
            "nobody can open it or attach to it"
        )
        vf_report(nt, "device-left-initializing", "AddDevice", text)
    return status


def pnp_bring_up(nt: Kernel, node: Any) -> bool:
    """Load the drivers of a device and start it; whether it is started."""
    n.pip_clear_problem(node)
    service = pnp_match(nt, node)
    raw = bool(node._v.CapabilityFlags & CAPABILITY_RAW_DEVICE_OK)
    if not service and not raw:
        n.pip_set_problem(node, n.PROBLEM_NOT_CONFIGURED, ntstatus.STATUS_PNP_NO_COMPAT_DRIVERS)
        return False
    n.pip_set_text(nt, node.ServiceName, service)
    for name, function in pnp_stack(nt, node, service):
        driver = pnp_driver(nt, name)
        if driver is None:
            if function:
                status = ntstatus.STATUS_OBJECT_NAME_NOT_FOUND
                return _give_up(nt, node, n.PROBLEM_DRIVER_FAILED_LOAD, status)
            continue
        status = pnp_add_device(nt, driver, node)
        if not ntstatus.NT_SUCCESS(status) and function:
            _give_up(nt, node, n.PROBLEM_FAILED_ADD, status)
            pnp_unload_idle(nt, int(driver.object))
            return False
    n.pip_set_state(nt, node, n.DRIVERS_ADDED)
    pnp_query_resources(nt, node)
    return pnp_start(nt, node)


def _give_up(nt: Kernel, node: Any, problem: int, status: int) -> bool:
    """The stack goes; the device keeps its problem."""
    pnp_remove_stack(nt, node)
    n.pip_set_problem(node, problem, status)
    n.pip_set_state(nt, node, n.INITIALIZED)
    return False


def pnp_query_resources(nt: Kernel, node: Any) -> None:
    """What the device needs, as the bus says and the drivers above change it; then the choice."""
    pdo = node.PhysicalDeviceObject
    _, boot = iop_synchronous_call(nt, pdo, c.IRP_MN_QUERY_RESOURCES)
    if boot:
        node._v.BootResources = boot
    status, wanted = iop_synchronous_call(nt, pdo, c.IRP_MN_QUERY_RESOURCE_REQUIREMENTS)
    wanted = wanted if ntstatus.NT_SUCCESS(status) else 0
    status, filtered = iop_synchronous_call(
        nt, pdo, c.IRP_MN_FILTER_RESOURCE_REQUIREMENTS, (wanted,)
    )
    if ntstatus.NT_SUCCESS(status) and filtered and filtered != wanted:
        wanted = filtered
    if node._v.ResourceRequirements not in (0, wanted):
        ExFreePool(nt, node._v.ResourceRequirements)
    node._v.ResourceRequirements = wanted
    n.pip_free_resources(nt, node)
    node._v.ResourceList, node._v.ResourceListTranslated = pnp_assign(nt, wanted)
    n.pip_set_state(nt, node, n.RESOURCES_ASSIGNED)


def pnp_start(nt: Kernel, node: Any) -> bool:
    """START_DEVICE, then the questions that only a started device can answer."""
    v = node._v
    n.pip_set_state(nt, node, n.START_PENDING)
    resources = v.ResourceList, v.ResourceListTranslated
    pdo = node.PhysicalDeviceObject
    status, _ = iop_synchronous_call(nt, pdo, c.IRP_MN_START_DEVICE, resources)
    v.CompletionStatus = status
    if not ntstatus.NT_SUCCESS(status):
        return _give_up(nt, node, n.PROBLEM_FAILED_START, status)
    n.pip_set_state(nt, node, n.START_COMPLETION)
    pnp_query_capabilities(nt, node)
    if not pnp_query_state(nt, node):
        return False
    n.pip_set_state(nt, node, n.STARTED)
    pnp_started(nt, node)
    return True


def pnp_query_state(nt: Kernel, node: Any) -> bool:
    """QUERY_PNP_DEVICE_STATE; False if the driver says that the device has failed or is gone."""
    pdo = node.PhysicalDeviceObject
    status, state = iop_synchronous_call(nt, pdo, c.IRP_MN_QUERY_PNP_DEVICE_STATE)
    if not ntstatus.NT_SUCCESS(status):
        return True
    node._v.UserFlags = state & 0xFFFF_FFFF
    if state & c.PNP_DEVICE_REMOVED:
        return _give_up(nt, node, n.PROBLEM_DEVICE_NOT_THERE, ntstatus.STATUS_NO_SUCH_DEVICE)
    if state & c.PNP_DEVICE_DISABLED:
        return _give_up(nt, node, n.PROBLEM_DISABLED, ntstatus.STATUS_SUCCESS)
    if state & c.PNP_DEVICE_FAILED:
        status = ntstatus.STATUS_UNSUCCESSFUL
        return _give_up(nt, node, n.PROBLEM_FAILED_POST_START, status)
    return True
