"""GUIDs as 16 bytes, as text, and those that the kernel itself puts into notifications.

Source: wdmguid.h.
"""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ntsim.nt.kernel import Kernel


def guid_bytes(text: str) -> bytes:
    """The GUID of `CB3A4004-46F0-11D0-B08F-00609713053F`, braces allowed."""
    return uuid.UUID(text).bytes_le


def guid_text(data: bytes) -> str:
    """`{cb3a4004-...}`, in lower case as in interface names."""
    return "{" + str(uuid.UUID(bytes_le=data)) + "}"


def read_guid(nt: Kernel, address: int) -> str:
    """The text of a GUID in memory."""
    return guid_text(nt.mmu.read(int(address), 16))


INTERFACE_ARRIVAL = guid_bytes("cb3a4004-46f0-11d0-b08f-00609713053f")
INTERFACE_REMOVAL = guid_bytes("cb3a4005-46f0-11d0-b08f-00609713053f")
QUERY_REMOVE = guid_bytes("cb3a4006-46f0-11d0-b08f-00609713053f")
REMOVE_CANCELLED = guid_bytes("cb3a4007-46f0-11d0-b08f-00609713053f")
REMOVE_COMPLETE = guid_bytes("cb3a4008-46f0-11d0-b08f-00609713053f")
