"""GUIDs as text, {6B29FC40-CA47-1067-B31D-00DD010662DA}. Source: WDK RtlStringFromGUID."""

from __future__ import annotations

import re
import struct
from typing import TYPE_CHECKING

from ntsim.abi import ntstatus
from ntsim.abi.scalars import NTSTATUS
from ntsim.nt.exports import export
from ntsim.nt.rtl.codepage import wide_encode
from ntsim.nt.rtl.string_conversion import rtlp_allocate
from ntsim.nt.rtl.unicode import rtl_text

if TYPE_CHECKING:
    from ntsim.abi.rtl import PGUID, PUNICODE_STRING
    from ntsim.nt.kernel import Kernel

_PATTERN = re.compile(
    r"\{([0-9A-F]{8})-([0-9A-F]{4})-([0-9A-F]{4})-([0-9A-F]{4})-([0-9A-F]{12})\}", re.IGNORECASE
)


def guid_text(data: bytes) -> str:
    """The text of a GUID's 16 bytes."""
    one, two, three = struct.unpack("<IHH", data[:8])
    tail = data[8:].hex().upper()
    return f"{{{one:08X}-{two:04X}-{three:04X}-{tail[:4]}-{tail[4:]}}}"


@export(irql="== PASSIVE")
def RtlStringFromGUID(nt: Kernel, Guid: PGUID, GuidString: PUNICODE_STRING) -> NTSTATUS:
    """A GUID as text, in a string that RtlFreeUnicodeString frees. Source: WDK."""
    data = wide_encode(guid_text(nt.mmu.read(int(Guid), 16))) + b"\0\0"
    buffer = rtlp_allocate(nt, len(data))
    if not buffer:
        return ntstatus.STATUS_NO_MEMORY
    nt.mmu.write(buffer, data)
    s = GuidString._v
    s.Buffer, s.Length, s.MaximumLength = buffer, len(data) - 2, len(data)
    return ntstatus.STATUS_SUCCESS


@export(irql="== PASSIVE")
def RtlGUIDFromString(nt: Kernel, GuidString: PUNICODE_STRING, Guid: PGUID) -> NTSTATUS:
    """The GUID that a text writes; STATUS_INVALID_PARAMETER if it is none. Source: WDK."""
    found = _PATTERN.match(rtl_text(nt, GuidString))
    if found is None:
        return ntstatus.STATUS_INVALID_PARAMETER
    v = Guid._v
    v.Data1, v.Data2, v.Data3 = (int(found[i], 16) for i in (1, 2, 3))
    nt.mmu.write(int(Guid) + 8, bytes.fromhex(found[4] + found[5]))
    return ntstatus.STATUS_SUCCESS
