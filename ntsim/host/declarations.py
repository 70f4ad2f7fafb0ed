"""What the driver headers declare besides routines: types, NULL, the checked copies, macros."""

from __future__ import annotations

from typing import Any

from ntsim.abi import (
    callbacks,
    cc,
    cm,
    ex,
    fsrtl,
    io,
    ke,
    mcb,
    mm,
    ob,
    os_version,
    pnp,
    ps,
    rtl,
    scalars,
    se,
    share_access,
    time_fields,
    wsk,
)
from ntsim.abi.memory import Unplaced
from ntsim.abi.ntstatus import NT_ERROR, NT_INFORMATION, NT_SUCCESS, NT_WARNING
from ntsim.abi.operators import CONTAINING_RECORD, FIELD_OFFSET, cast, sizeof
from ntsim.abi.structure import Structure
from ntsim.abi.types import POINTER, REGISTRY, PointerType, allocate_variable
from ntsim.host.current import caller_error, current_kernel
from ntsim.nt.ob.objects import set_unicode
from ntsim.nt.rtl.exception import StructuredException

MODULES = (
    callbacks, cc, cm, ex, fsrtl, io, ke, mcb, mm, ob, os_version, pnp, ps, rtl, scalars, se,
    share_access, time_fields, wsk,
)  # fmt: skip
NULL, TRUE, FALSE = 0, 1, 0
MAXULONG, MAXULONG64, MAXULONGLONG = 0xFFFF_FFFF, (1 << 64) - 1, (1 << 64) - 1
MAXLONG, MAXUSHORT, MAXUCHAR = 0x7FFF_FFFF, 0xFFFF, 0xFF

ALIASES = {
    "KMUTEX": "KMUTANT", "PKMUTEX": "KMUTANT", "PRKEVENT": "KEVENT",
    "ANSI_STRING": "STRING", "PANSI_STRING": "STRING", "PCANSI_STRING": "STRING",
    "PCUNICODE_STRING": "UNICODE_STRING",
    "KGUARDED_MUTEX": "FAST_MUTEX", "PKGUARDED_MUTEX": "FAST_MUTEX", "PRKQUEUE": "KQUEUE",
    "EX_SPIN_LOCK": "LONG", "PEX_SPIN_LOCK": "LONG",
}  # fmt: skip


def type_names() -> dict[str, object]:
    """Every NT structure, its pointer type, every scalar."""
    assert MODULES
    found: dict[str, object] = {}
    for name, kind in list(REGISTRY.items()):
        found[name] = kind
        if isinstance(kind, type):
            found["P" + name] = PointerType(kind)
    found["UNICODE_STRING"] = UnicodeStringType
    found["PHYSICAL_ADDRESS"] = rtl.LARGE_INTEGER
    found["KSPIN_LOCK"] = REGISTRY["KSPIN_LOCK"]
    for alias, name in ALIASES.items():
        kind = REGISTRY[name]
        found[alias] = PointerType(kind) if alias.startswith("P") else kind
    return found


class _UnicodeStringMeta(type(rtl.UNICODE_STRING)):  # type: ignore[misc]
    """UNICODE_STRING("text") is RTL_CONSTANT_STRING; UNICODE_STRING() is storage."""

    def __call__(cls, *arguments: Any) -> Any:
        if not arguments:
            return allocate_variable(rtl.UNICODE_STRING)
        (text,) = arguments
        if not isinstance(text, str):
            raise caller_error(f"UNICODE_STRING takes a str, not {text!r}")
        made = allocate_variable(rtl.UNICODE_STRING)
        if not isinstance(made, Unplaced):
            buffer = current_kernel("UNICODE_STRING").host.text(text, True)
            set_unicode(made, buffer, len(text.encode("utf-16-le")))
        return made


class UnicodeStringType(rtl.UNICODE_STRING, metaclass=_UnicodeStringMeta):
    """The UNICODE_STRING that drivers see."""


def helpers() -> dict[str, object]:
    """Python's share of the headers."""
    return {
        "NULL": NULL, "TRUE": TRUE, "FALSE": FALSE, "MAXULONG": MAXULONG,
        "MAXULONG64": MAXULONG64, "MAXULONGLONG": MAXULONGLONG, "MAXLONG": MAXLONG,
        "MAXUSHORT": MAXUSHORT, "MAXUCHAR": MAXUCHAR,
        "NT_SUCCESS": NT_SUCCESS, "NT_ERROR": NT_ERROR, "NT_WARNING": NT_WARNING,
        "NT_INFORMATION": NT_INFORMATION, "Structure": Structure, "POINTER": POINTER,
        "cast": cast, "sizeof": sizeof, "FIELD_OFFSET": FIELD_OFFSET,
        "CONTAINING_RECORD": CONTAINING_RECORD, "StructuredException": StructuredException,
        "DEFINE_GUID": DEFINE_GUID, "IsEqualGUID": IsEqualGUID,
        "read_bytes": read_bytes, "write_bytes": write_bytes,
        "RTL_CONSTANT_STRING": UnicodeStringType, "VOID": None,
    }  # fmt: skip


def DEFINE_GUID(first: int, second: int, third: int, *rest: int) -> Any:
    """guiddef.h's macro without the name: storage for a GUID of these eleven numbers."""
    if len(rest) != 8:
        raise caller_error(f"DEFINE_GUID takes 11 numbers; {3 + len(rest)} were given")
    made = allocate_variable(rtl.GUID)
    if not isinstance(made, Unplaced):
        made.Data1, made.Data2, made.Data3 = first, second, third
        write_bytes(int(made) + 8, bytes(rest))
    return made


def IsEqualGUID(one: int, other: int) -> bool:
    """Whether two GUIDs, given by address, are the same."""
    return read_bytes(one, 16) == read_bytes(other, 16)


def read_bytes(address: int, length: int) -> bytes:
    """A checked copy of `length` bytes at `address`; faults as the access would."""
    return current_kernel("read_bytes").mmu.read(int(address), int(length)) if length else b""


def write_bytes(address: int, data: bytes) -> None:
    """A checked copy of `data` to `address`; faults as the access would."""
    if len(data):
        current_kernel("write_bytes").mmu.write(int(address), bytes(data))
