"""What the PnP manager asks a new device: IDs, text, capabilities; kept under its Enum key.

An ID with a character that may not be in one, or without its end, is 0xCA/3. Source: WDK
IRP_MN_QUERY_ID, IRP_MN_QUERY_CAPABILITIES; bug check 0xCA reference; the first values of
DEVICE_CAPABILITIES from Wine's ntoskrnl driver_pnp.c.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ntsim.abi import bugcodes, ntstatus
from ntsim.abi import wdm_constants as c
from ntsim.abi.pnp import CAPABILITY_UNIQUE_ID, DEVICE_CAPABILITIES
from ntsim.nt.cm.registry import Content, Key
from ntsim.nt.ex.allocate import ExFreePool
from ntsim.nt.pnp.irp import iop_synchronous_call
from ntsim.nt.pnp.node import pip_instance_path
from ntsim.nt.pnp.state import ENUM

if TYPE_CHECKING:
    from ntsim.nt.kernel import Kernel

LONGEST_ID = 200
"""MAX_DEVICE_ID_LEN, in characters, with the terminator."""

LONGEST_LIST = 4096
INVALID_ID = 3
ID_NUMBERS = {
    c.BusQueryDeviceID: 1, c.BusQueryInstanceID: 2, c.BusQueryHardwareIDs: 3,
    c.BusQueryCompatibleIDs: 4,
}  # fmt: skip
"""Parameter 4 of 0xCA/3."""

_ENGLISH = 0x409


def pnp_read_text(nt: Kernel, address: int, most: int, multiple: bool = False) -> str | None:
    """Text up to its terminator, or up to the empty string that ends a list; None if too long."""
    text = ""
    end = "\0\0" if multiple else "\0"
    while len(text) < most:
        text += nt.mmu.read(address + 2 * len(text), 2).decode("utf-16-le", "replace")
        if text.endswith(end) or text == "\0":
            return text[: -len(end)] if text != "\0" else ""
    return None


def pnp_query_id(nt: Kernel, pdo: Any, kind: int) -> list[str]:
    """The IDs of one kind, empty if the bus driver has none; the buffer is freed."""
    status, buffer = iop_synchronous_call(nt, pdo, c.IRP_MN_QUERY_ID, (kind,))
    if not ntstatus.NT_SUCCESS(status) or not buffer:
        return []
    multiple = kind in (c.BusQueryHardwareIDs, c.BusQueryCompatibleIDs)
    text = pnp_read_text(nt, buffer, LONGEST_LIST if multiple else LONGEST_ID, multiple)
    found = text.split("\0") if text else []
    wrong = text is None or any(not _is_id(each) for each in found)
    if wrong and kind in ID_NUMBERS:
        code = bugcodes.PNP_DETECTED_FATAL_ERROR
        nt.bugcheck(code, INVALID_ID, int(pdo), buffer, ID_NUMBERS[kind])
    ExFreePool(nt, buffer)
    return found


def _is_id(text: str) -> bool:
    """Characters 0x20 to 0x7F without the comma."""
    return all(" " <= letter <= "\x7f" and letter != "," for letter in text)


def pnp_query_text(nt: Kernel, pdo: Any, kind: int) -> str:
    """The device's description or location."""
    status, buffer = iop_synchronous_call(
        nt, pdo, c.IRP_MN_QUERY_DEVICE_TEXT, (kind, _ENGLISH)
    )
    if not ntstatus.NT_SUCCESS(status) or not buffer:
        return ""
    text = pnp_read_text(nt, buffer, LONGEST_LIST) or ""
    ExFreePool(nt, buffer)
    return text


def pnp_query_capabilities(nt: Kernel, node: Any) -> int:
    """Ask for DEVICE_CAPABILITIES and keep the flags in the node; they are returned."""
    block = nt.allocate_pool(DEVICE_CAPABILITIES.size, "PpCa")
    nt.mmu.write(block, bytes(DEVICE_CAPABILITIES.size))
    capabilities = DEVICE_CAPABILITIES.at(nt.mmu, block)
    v = capabilities._v
    v.Size, v.Version = DEVICE_CAPABILITIES.size, 1
    v.Address = v.UINumber = 0xFFFF_FFFF
    pdo = node.PhysicalDeviceObject
    status, _ = iop_synchronous_call(nt, pdo, c.IRP_MN_QUERY_CAPABILITIES, (block,))
    flags = int(v.Flags) if ntstatus.NT_SUCCESS(status) else 0
    if ntstatus.NT_SUCCESS(status):
        node._v.CapabilityFlags = flags
        key = pnp_enum_key(nt, node)
        if key is not None:
            pnp_set(nt, key, "Capabilities", flags)
            for name, number in (("Address", v.Address), ("UINumber", v.UINumber)):
                if number != 0xFFFF_FFFF:
                    pnp_set(nt, key, name, number)
    nt.free_pool(block)
    return flags


def pnp_instance_id(flags: int, instance: str, parent: Any) -> str:
    """The instance ID, made unique by the parent where the bus says it is not by itself."""
    if flags & CAPABILITY_UNIQUE_ID or parent._v.Level == 0:
        return instance or "0"
    return f"{parent._v.Level}&{instance or '0'}"


def pnp_enum_key(nt: Kernel, node: Any) -> Key | None:
    """The device's key under Enum."""
    path = pip_instance_path(nt, node)
    return nt.cm.create(f"{ENUM}\\{path}") if path else None


def pnp_set(nt: Kernel, key: Key, name: str, content: Content) -> None:
    """Store a value of the device's key."""
    nt.cm.set(key.path, name, content)


def pnp_get(nt: Kernel, node: Any, name: str) -> Content | None:
    """A value of the device's key."""
    path = pip_instance_path(nt, node)
    return nt.cm.get(f"{ENUM}\\{path}", name) if path else None
