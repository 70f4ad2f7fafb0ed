"""Security checks: user-mode addresses and handles where the kernel trusts its caller.

A Zw routine runs with PreviousMode KernelMode: nothing probes what it is given. Source: WDK
"Security Checks"; Bug Check 0xC4, 0xE0 to 0xE4, 0xE6, 0x3C, 0xF5 to 0xF7.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ntsim.abi import ntstatus
from ntsim.abi.irql import level_name
from ntsim.nt.exports import EXPORTS
from ntsim.nt.mm import layout
from ntsim.nt.ob.handles import KERNEL_HANDLE_BITS
from ntsim.nt.vf.hooks import after, before

if TYPE_CHECKING:
    from ntsim.nt.kernel import Kernel
    from ntsim.nt.vf.verifier import Verifier

KERNEL_MODE, USER_MODE = 0, 1
LOWEST = layout.LOWEST_USER
CURRENT_PROCESS, CURRENT_THREAD = 0xFFFF_FFFF_FFFF_FFFF, 0xFFFF_FFFF_FFFF_FFFE


def is_user(address: int) -> bool:
    return LOWEST <= address < layout.MM_USER_PROBE_ADDRESS


def is_address(name: str, kind: str) -> bool:
    """Whether a parameter is an address that a Zw routine uses."""
    if "Apc" in name or kind in ("HANDLE", "ULONG", "ACCESS_MASK"):
        return False
    return kind.startswith(("P", "Out"))


def zw_check(name: str) -> Callable[..., None] | None:
    """The check of a Zw routine."""
    export = EXPORTS.get(name)
    if export is None or not name.startswith("Zw"):
        return None
    kinds = export.parameters
    addresses = [i for i, (parameter, kind) in enumerate(kinds) if is_address(parameter, kind)]
    texts = [i for i, (_, kind) in enumerate(kinds) if kind == "PUNICODE_STRING"]
    objects = [i for i, (_, kind) in enumerate(kinds) if kind == "POBJECT_ATTRIBUTES"]

    def check(vf: Verifier, nt: Kernel, *arguments: Any) -> None:
        vi_zw_level(vf, nt)
        for index in addresses:
            value = arguments[index]
            if isinstance(value, int) and is_user(int(value)):
                where = f"{kinds[index][0]} = {int(value):#x}"
                why = f"{name} was given a user-mode address, {where}: nothing probes it."
                vf.violation(0xE3, vf.driver_address(), int(value), why=why)
        for index in texts:
            vi_text(vf, nt, arguments[index])
        for index in objects:
            if arguments[index]:
                vi_text(vf, nt, arguments[index].ObjectName)

    return check


def vi_zw_level(vf: Verifier, nt: Kernel) -> None:
    """0xE6: above PASSIVE_LEVEL, or with special kernel APCs disabled."""
    special = int(nt.thread.v.SpecialApcDisable) & 0xFFFF
    if vf.irql or special:
        state = f"at {level_name(vf.irql)}" if vf.irql else "with special kernel APCs disabled"
        why = f"{vf.routine} was called {state}: its completion needs a special kernel APC."
        vf.violation(0xE6, vf.driver_address(), vf.irql, special, why=why)


def vi_text(vf: Verifier, nt: Kernel, text: Any) -> None:
    """0xE4: odd, longer than its buffer, or without one."""
    if not text or is_user(int(text)):
        return
    length, room, buffer = text.Length, text.MaximumLength, int(text.Buffer)
    if length % 2 or length > room or (length and not buffer):
        why = f"{vf.routine} was given a UNICODE_STRING with Length {length}, MaximumLength {room} "
        why += f"and Buffer {buffer:#x}."
        vf.violation(0xE4, vf.driver_address(), int(text), why=why)


INITIALIZERS = {
    "KeInitializeEvent": 0x18, "KeInitializeMutex": 0x38, "KeInitializeSemaphore": 0x20,
    "KeInitializeTimer": 0x40, "KeInitializeTimerEx": 0x40, "KeInitializeDpc": 0x40,
    "KeInitializeThreadedDpc": 0x40, "KeInitializeSpinLock": 8, "ExInitializeResourceLite": 0x68,
    "ExInitializeFastMutex": 0x38, "ExInitializeNPagedLookasideList": 0x80,
}  # fmt: skip
USES = "KeSetEvent KeResetEvent KeClearEvent KeWaitForSingleObject KeSetTimer KeSetTimerEx"


@before("security", f"{' '.join(INITIALIZERS)} {USES}")
def vi_object(vf: Verifier, nt: Kernel, Object: Any, *rest: Any) -> None:
    """0xE0: a user-mode address; 0xE1: a synchronization object in paged pool."""
    address = int(Object)
    if is_user(address):
        size = INITIALIZERS.get(vf.routine, 0x18)
        why = f"{vf.routine} was given the user-mode address {address:#x}."
        vf.violation(0xE0, address, size, why=why)
    special = vf.special.block_at(address) if vf.special is not None else None
    if address in nt.mm.paged or (special is not None and special.paged):
        why = f"{vf.routine} was given an object at {address:#x}, in paged pool: the kernel "
        vf.violation(0xE1, address, why=why + "uses it at DISPATCH_LEVEL.")


@before("security", "IofCallDriver")
def vi_kernel_irp(vf: Verifier, nt: Kernel, DeviceObject: Any, Irp: Any) -> None:
    """0xE2: an IRP of the kernel's holds a user-mode address."""
    v = Irp._v
    if v.RequestorMode != KERNEL_MODE:
        return
    for name in ("UserBuffer", "UserIosb", "UserEvent", "AssociatedIrp_SystemBuffer"):
        address = getattr(v, name)
        if is_user(address):
            field = name.rpartition("_")[2]
            why = f"An IRP with RequestorMode KernelMode has the user-mode address {address:#x} in "
            vf.violation(0xE2, int(Irp), address, why=f"{why}{field}.")


@before("security", "ObReferenceObjectByHandle")
def vi_reference_handle(
    vf: Verifier, nt: Kernel, Handle: int, Access: int, ObjectType: Any, Mode: int, *rest: Any
) -> None:
    """0xF5: NULL; 0xF6: an app's handle as KernelMode; 0xF7: the other way round."""
    if not Handle:
        why = "ObReferenceObjectByHandle was given a NULL handle."
        vf.violation(0xF5, 0, int(ObjectType), why=why)
    if Handle in (CURRENT_PROCESS, CURRENT_THREAD):
        return
    of_kernel = Handle & KERNEL_HANDLE_BITS == KERNEL_HANDLE_BITS
    process = nt.thread.process
    if Mode == KERNEL_MODE and not of_kernel and process is not nt.ps.system:
        why = f"The user-mode handle {Handle:#x} of {process.name} was referenced as KernelMode: "
        why += "the app may close or replace it at any time, and its access is not checked."
        vf.violation(0xF6, Handle, process.va, vf.driver_address(), why=why)
    if Mode == USER_MODE and of_kernel and process is nt.ps.system:
        why = f"The kernel handle {Handle:#x} was referenced as UserMode in the System process."
        vf.violation(0xF7, Handle, int(ObjectType), Mode, why=why)


@after("security", "ObReferenceObjectByHandle")
def vi_bad_handle(
    vf: Verifier, result: int, nt: Kernel, Handle: int, Access: int, ObjectType: Any, Mode: int,
    *rest: Any,
) -> None:  # fmt: skip
    """0x3C: there is no such handle."""
    if result == ntstatus.STATUS_INVALID_HANDLE and Mode == KERNEL_MODE:
        why = f"ObReferenceObjectByHandle was given {Handle:#x}, which is no handle."
        vf.violation(0x3C, Handle, int(ObjectType), why=why)
