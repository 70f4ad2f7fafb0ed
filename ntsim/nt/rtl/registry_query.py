"""RtlQueryRegistryValues: several values by one table of RTL_QUERY_REGISTRY_TABLE entries.

Each entry names a value, all values of the key, or a subkey for the entries behind it; what is
found goes to the entry's routine or, with RTL_QUERY_REGISTRY_DIRECT, into its buffer. The buffer's
size is not known for data up to four bytes and for what UNICODE_STRING claims: a value of another
type than the driver expects overruns it, unless the entry asks for a type check. Source: WDK
RtlQueryRegistryValues.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ntsim.abi import ntstatus
from ntsim.abi import wdm_constants as c
from ntsim.abi import winnt_constants as w
from ntsim.abi.cm import RTL_QUERY_REGISTRY_TABLE
from ntsim.abi.rtl import UNICODE_STRING
from ntsim.abi.scalars import NTSTATUS, PCWSTR, PVOID, ULONG
from ntsim.nt.cm.registry import Value
from ntsim.nt.exports import export
from ntsim.nt.rtl.codepage import wide_encode
from ntsim.nt.rtl.cstring import wide_bytes
from ntsim.nt.rtl.registry import rtl_registry_key
from ntsim.nt.rtl.string_conversion import rtlp_allocate
from ntsim.nt.rtl.text import read_wide

if TYPE_CHECKING:
    from ntsim.abi.cm import PRTL_QUERY_REGISTRY_TABLE
    from ntsim.nt.cm.registry import Key
    from ntsim.nt.kernel import Kernel

SUBKEY, TOPKEY = c.RTL_QUERY_REGISTRY_SUBKEY, c.RTL_QUERY_REGISTRY_TOPKEY
REQUIRED, NOVALUE = c.RTL_QUERY_REGISTRY_REQUIRED, c.RTL_QUERY_REGISTRY_NOVALUE
NOEXPAND, DIRECT = c.RTL_QUERY_REGISTRY_NOEXPAND, c.RTL_QUERY_REGISTRY_DIRECT
DELETE, TYPECHECK = c.RTL_QUERY_REGISTRY_DELETE, c.RTL_QUERY_REGISTRY_TYPECHECK
TYPECHECK_SHIFT = 24
TEXT = (w.REG_SZ, w.REG_EXPAND_SZ, w.REG_MULTI_SZ)


@export(irql="== PASSIVE", aliases=("RtlxQueryRegistryValues",))
def RtlQueryRegistryValues(
    nt: Kernel,
    RelativeTo: ULONG,
    Path: PCWSTR,
    QueryTable: PRTL_QUERY_REGISTRY_TABLE,
    Context: PVOID,
    Environment: PVOID,
) -> NTSTATUS:
    """Work through a query table up to its empty entry, or to the first failure. Source: WDK."""
    status, top = rtl_registry_key(nt, RelativeTo, Path)
    if top is None:
        return 0 if RelativeTo & c.RTL_REGISTRY_OPTIONAL else status
    key, at = top, int(QueryTable)
    while True:
        entry = RTL_QUERY_REGISTRY_TABLE.at(nt.mmu, at)
        flags = entry._v.Flags
        if not entry._v.QueryRoutine and not flags & (SUBKEY | DIRECT):
            return ntstatus.STATUS_SUCCESS
        if is_invalid(entry, flags):
            return ntstatus.STATUS_INVALID_PARAMETER
        if flags & (SUBKEY | TOPKEY):
            key = top
        if flags & SUBKEY:
            found = nt.cm.find(read_wide(nt.mmu, entry._v.Name), top)
            if found is None:
                return ntstatus.STATUS_OBJECT_NAME_NOT_FOUND
            key = found
        status = query(nt, entry, key, flags, int(Context))
        if not ntstatus.NT_SUCCESS(status):
            return status
        at += RTL_QUERY_REGISTRY_TABLE.size


def is_invalid(entry: Any, flags: int) -> bool:
    """Whether an entry lacks a name or routine that its flags call for."""
    v = entry._v
    if flags & DIRECT:
        return not v.Name or bool(flags & SUBKEY) or bool(v.QueryRoutine)
    return bool(flags & SUBKEY) and not v.Name


def query(nt: Kernel, entry: Any, key: Key, flags: int, context: int) -> int:
    """One entry of the table."""
    v = entry._v
    if flags & SUBKEY:
        return each_value(nt, entry, key, flags, context) if v.QueryRoutine else 0
    name = read_wide(nt.mmu, v.Name) if v.Name else ""
    if flags & NOVALUE:
        return call(nt, entry, Value(name, w.REG_NONE, b""), context)
    if not v.Name:
        return each_value(nt, entry, key, flags, context)
    value = key.values.get(name.lower())
    if value is None:
        return missing(nt, entry, name, flags, context)
    if flags & TYPECHECK and flags & DIRECT and value.type != v.DefaultType >> TYPECHECK_SHIFT:
        return ntstatus.STATUS_OBJECT_TYPE_MISMATCH
    status = report(nt, entry, value, flags, context)
    if flags & DELETE and ntstatus.NT_SUCCESS(status):
        key.values.pop(name.lower(), None)
    return status


def each_value(nt: Kernel, entry: Any, key: Key, flags: int, context: int) -> int:
    """An entry without a name: every value of the key."""
    if not key.values and flags & REQUIRED:
        return ntstatus.STATUS_OBJECT_NAME_NOT_FOUND
    for value in list(key.values.values()):
        status = report(nt, entry, value, flags, context)
        if not ntstatus.NT_SUCCESS(status):
            return status
        if flags & DELETE:
            key.values.pop(value.name.lower(), None)
    return ntstatus.STATUS_SUCCESS


def missing(nt: Kernel, entry: Any, name: str, flags: int, context: int) -> int:
    """The value does not exist: the entry's default, if it has one."""
    v = entry._v
    kind = v.DefaultType & 0xFF
    if flags & REQUIRED:
        return ntstatus.STATUS_OBJECT_NAME_NOT_FOUND
    if kind == w.REG_NONE:
        return ntstatus.STATUS_SUCCESS
    length = v.DefaultLength
    if kind == w.REG_MULTI_SZ:
        data = default_strings(nt, v.DefaultData, length)
    elif not length and kind in TEXT:
        data = wide_bytes(nt.mmu, v.DefaultData) + b"\0\0"
    else:
        data = nt.mmu.read(v.DefaultData, length) if length else b""
    return report(nt, entry, Value(name, kind, data), flags, context)


def default_strings(nt: Kernel, address: int, length: int) -> bytes:
    """A REG_MULTI_SZ default, up to its first empty string if it has no length.

    One that begins with an empty string is none. Source: kmtests RtlRegistry.c.
    """
    if length:
        data = nt.mmu.read(address, length)
        return b"" if data[:2] == b"\0\0" else data
    data = b""
    while text := wide_bytes(nt.mmu, address + len(data)):
        data += text + b"\0\0"
    return data + b"\0\0" if data else b""


def report(nt: Kernel, entry: Any, value: Value, flags: int, context: int) -> int:
    """Give a value to the entry; a REG_MULTI_SZ is taken apart unless NOEXPAND is set."""
    if value.type == w.REG_MULTI_SZ and not flags & NOEXPAND:
        for text in strings(value.data):
            status = report(nt, entry, Value(value.name, w.REG_SZ, text), flags, context)
            if not ntstatus.NT_SUCCESS(status):
                return status
        return ntstatus.STATUS_SUCCESS
    if flags & DIRECT:
        return store(nt, entry._v.EntryContext, value)
    return call(nt, entry, value, context)


def strings(data: bytes) -> list[bytes]:
    """The strings of a REG_MULTI_SZ, empty ones too, each with its terminator.

    One that begins at the last character is the end of all. Source: kmtests RtlRegistry.c.
    """
    text = data[: len(data) & ~1].decode("utf-16-le", "surrogatepass")
    found, at = [], 0
    while at < len(text) - 1:
        end = text.find("\0", at)
        end = len(text) if end < 0 else end
        found.append(wide_encode(text[at:end]) + b"\0\0")
        at = end + 1
    return found


def call(nt: Kernel, entry: Any, value: Value, context: int) -> int:
    """QueryRoutine(ValueName, ValueType, ValueData, ValueLength, Context, EntryContext)."""
    v = entry._v
    name = wide_encode(value.name) + b"\0\0"
    block = rtlp_allocate(nt, len(name) + 8 + len(value.data))
    if not block:
        return ntstatus.STATUS_NO_MEMORY
    data = -(-(block + len(name)) // 8) * 8
    nt.mmu.write(block, name)
    nt.mmu.write(data, value.data)
    length = len(value.data)
    status = nt.call(
        v.QueryRoutine, block, value.type, data if length else 0, length, context, v.EntryContext
    )
    nt.free_pool(block)
    status &= 0xFFFF_FFFF
    return 0 if status == ntstatus.STATUS_BUFFER_TOO_SMALL else status


def store(nt: Kernel, address: int, value: Value) -> int:
    """RTL_QUERY_REGISTRY_DIRECT: text into a UNICODE_STRING, other data into a buffer."""
    length = len(value.data)
    if value.type in TEXT:
        return store_text(nt, address, value.data)
    if length <= 4:
        nt.mmu.write(address, value.data)
        return ntstatus.STATUS_SUCCESS
    room = int.from_bytes(nt.mmu.read(address, 4), "little", signed=True)
    header = b"" if room < 0 else length.to_bytes(4, "little") + value.type.to_bytes(4, "little")
    if abs(room) < length + len(header):
        return ntstatus.STATUS_BUFFER_TOO_SMALL
    nt.mmu.write(address, header + value.data)
    return ntstatus.STATUS_SUCCESS


def store_text(nt: Kernel, address: int, data: bytes) -> int:
    """Text with its terminator into the string's buffer, allocated if it has none."""
    v = UNICODE_STRING.at(nt.mmu, address)._v
    if not v.Buffer:
        buffer = rtlp_allocate(nt, len(data))
        if not buffer:
            return ntstatus.STATUS_NO_MEMORY
        v.Buffer, v.MaximumLength = buffer, len(data)
    elif len(data) > v.MaximumLength:
        return ntstatus.STATUS_BUFFER_TOO_SMALL
    nt.mmu.write(v.Buffer, data)
    v.Length = max(len(data) - 2, 0)
    return ntstatus.STATUS_SUCCESS
