"""Security descriptors of objects: set, query, capture.

A device's descriptor is its own field, which its files share, a key's belongs to the registry;
every other object has its descriptor in the object header. Source: WDK ZwSetSecurityObject,
ZwQuerySecurityObject, ObGetObjectSecurity; ntifs.h; ReactOS ntoskrnl/ob/obsecure.c,
ntoskrnl/se/sd.c.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

from ntsim.abi import ntstatus
from ntsim.abi import se as c
from ntsim.abi.io import FILE_OBJECT
from ntsim.abi.scalars import BOOLEAN, HANDLE, KPROCESSOR_MODE, NTSTATUS, POOL_TYPE, PVOID, ULONG
from ntsim.nt.exports import Out, export
from ntsim.nt.io.secure import iop_set_device_security
from ntsim.nt.ob.handles import ob_reference_by_handle
from ntsim.nt.rtl.security_descriptor import contents, is_valid, parts, self_relative

if TYPE_CHECKING:
    from ntsim.nt.kernel import Kernel

OWNER, GROUP = c.OWNER_SECURITY_INFORMATION, c.GROUP_SECURITY_INFORMATION
DACL, SACL = c.DACL_SECURITY_INFORMATION, c.SACL_SECURITY_INFORMATION
LABEL = c.LABEL_SECURITY_INFORMATION
READ_CONTROL, WRITE_DAC, WRITE_OWNER, ACCESS_SYSTEM_SECURITY = 1 << 17, 1 << 18, 1 << 19, 1 << 24
_FAST_REFERENCE = 0xF
_DACL_BITS = c.SE_DACL_PRESENT | c.SE_DACL_DEFAULTED | c.SE_DACL_PROTECTED
_SACL_BITS = c.SE_SACL_PRESENT | c.SE_SACL_DEFAULTED | c.SE_SACL_PROTECTED

Pieces = tuple[int, list[bytes]]
"""Control and the bytes of SACL, DACL, owner and group."""


def obp_device_of(nt: Kernel, body: int) -> Any:
    """The device whose descriptor a device or file object has; None for other objects."""
    kind = nt.ob.type_of(body).name
    if kind == "Device":
        return nt.io.device_at(body)
    if kind == "File":
        return nt.io.device_at(FILE_OBJECT.at(nt.mmu, body)._v.DeviceObject)
    return None


def obp_descriptor(nt: Kernel, body: int) -> int:
    """Address of an object's descriptor, 0 if it has none."""
    device = obp_device_of(nt, body)
    if device is not None:
        return int(device._v.SecurityDescriptor)
    if nt.ob.type_of(body).name == "Key":
        obp_copy_key_descriptor(nt, body)
    return int(nt.ob.header(body)._v.SecurityDescriptor) & ~_FAST_REFERENCE


def obp_copy_key_descriptor(nt: Kernel, body: int) -> None:
    """Let the header of an open key have the descriptor that the key has now."""
    wanted: bytes = nt.ob.bodies[body].security
    header = nt.ob.header(body)._v
    old = header.SecurityDescriptor & ~_FAST_REFERENCE
    if old and nt.mmu.read(old, len(wanted)) == wanted:
        return
    header.SecurityDescriptor = nt.se.store(wanted)
    if old:
        nt.free_pool(old)


def _pieces(nt: Kernel, descriptor: int) -> Pieces:
    if not descriptor:
        return 0, [b"", b"", b"", b""]
    found, pieces = contents(nt, descriptor)
    return found.control, pieces


def _join(control: int, pieces: list[bytes]) -> bytes:
    """A self-relative descriptor."""
    at, offsets = 0x14, []
    for piece in pieces:
        offsets.append(at if piece else 0)
        at += len(piece)
    sacl, dacl, owner, group = offsets
    head = struct.pack("<BBHIIII", 1, 0, control | c.SE_SELF_RELATIVE, owner, group, sacl, dacl)
    return head + b"".join(pieces)


def _replaced(old: Pieces, new: Pieces, which: int) -> bytes:
    """`old` with the parts that SECURITY_INFORMATION names from `new`."""
    control, kept = old
    pieces = list(kept)
    sacl = bool(which & (SACL | LABEL))
    for place, wanted in enumerate((sacl, which & DACL, which & OWNER, which & GROUP)):
        if wanted:
            pieces[place] = new[1][place]
    for wanted, bits in ((sacl, _SACL_BITS), (which & DACL, _DACL_BITS)):
        if wanted:
            control = control & ~bits | new[0] & bits
    return _join(control, pieces)


def obp_set_security(nt: Kernel, body: int, which: int, descriptor: int) -> int:
    """Put parts of `descriptor` into an object's."""
    if not is_valid(nt, descriptor):
        return ntstatus.STATUS_INVALID_SECURITY_DESCR
    new = _pieces(nt, descriptor)
    if which & OWNER and not new[1][2]:
        return ntstatus.STATUS_INVALID_OWNER
    if which & GROUP and not new[1][3]:
        return ntstatus.STATUS_INVALID_PRIMARY_GROUP
    data = _replaced(_pieces(nt, obp_descriptor(nt, body)), new, which)
    device = obp_device_of(nt, body)
    if device is not None:
        stored = iop_set_device_security(nt, device, data)
        return ntstatus.STATUS_SUCCESS if stored else ntstatus.STATUS_INSUFFICIENT_RESOURCES
    if nt.ob.type_of(body).name == "Key":
        nt.ob.bodies[body].security = data
        return ntstatus.STATUS_SUCCESS
    made = nt.se.store(data)
    if not made:
        return ntstatus.STATUS_INSUFFICIENT_RESOURCES
    header = nt.ob.header(body)._v
    old, header.SecurityDescriptor = header.SecurityDescriptor & ~_FAST_REFERENCE, made
    if old:
        nt.free_pool(old)
    return ntstatus.STATUS_SUCCESS


@export(irql="== PASSIVE", aliases=("NtSetSecurityObject",))
def ZwSetSecurityObject(
    nt: Kernel, Handle: HANDLE, SecurityInformation: ULONG, SecurityDescriptor: PVOID
) -> NTSTATUS:
    """Replace the parts of the object's descriptor that SecurityInformation names.

    The handle needs WRITE_DAC, WRITE_OWNER or ACCESS_SYSTEM_SECURITY for them. Source: WDK.
    """
    access = WRITE_DAC if SecurityInformation & DACL else 0
    access |= WRITE_OWNER if SecurityInformation & (OWNER | GROUP | LABEL) else 0
    access |= ACCESS_SYSTEM_SECURITY if SecurityInformation & SACL else 0
    status, body, granted = ob_reference_by_handle(nt, Handle, access, None, 0)
    if status:
        return status
    if access & ~granted:
        status = ntstatus.STATUS_ACCESS_DENIED
    else:
        status = obp_set_security(nt, body, SecurityInformation, SecurityDescriptor)
    nt.ob.dereference(body)
    return status


@export(irql="== PASSIVE", aliases=("NtQuerySecurityObject",))
def ZwQuerySecurityObject(
    nt: Kernel,
    Handle: HANDLE,
    SecurityInformation: ULONG,
    SecurityDescriptor: PVOID,
    Length: ULONG,
    LengthNeeded: Out[ULONG],
) -> NTSTATUS:
    """The named parts, self-relative; too little room is STATUS_BUFFER_TOO_SMALL with the size.

    An object without a descriptor has an empty one. The handle needs READ_CONTROL, for the SACL
    ACCESS_SYSTEM_SECURITY. Source: WDK.
    """
    access = ACCESS_SYSTEM_SECURITY if SecurityInformation & SACL else 0
    access |= READ_CONTROL if SecurityInformation & (OWNER | GROUP | DACL | LABEL) else 0
    status, body, granted = ob_reference_by_handle(nt, Handle, 0, None, 0)
    if status:
        return status
    found = _pieces(nt, obp_descriptor(nt, body))
    nt.ob.dereference(body)
    if access & ~granted:
        return ntstatus.STATUS_ACCESS_DENIED
    data = _replaced((0, [b"", b"", b"", b""]), found, SecurityInformation)
    LengthNeeded[0] = len(data)
    if Length < len(data):
        return ntstatus.STATUS_BUFFER_TOO_SMALL
    nt.mmu.write(SecurityDescriptor, data)
    return ntstatus.STATUS_SUCCESS


@export(irql="== PASSIVE")
def ObGetObjectSecurity(
    nt: Kernel, Object: PVOID, SecurityDescriptor: Out[PVOID], MemoryAllocated: Out[BOOLEAN]
) -> NTSTATUS:
    """A copy of the object's descriptor; NULL if it has none. Source: WDK ObGetObjectSecurity."""
    found = obp_descriptor(nt, Object)
    SecurityDescriptor[0] = copy = nt.se.store(self_relative(nt, found)) if found else 0
    MemoryAllocated[0] = int(bool(copy))
    if found and not copy:
        return ntstatus.STATUS_INSUFFICIENT_RESOURCES
    return ntstatus.STATUS_SUCCESS


@export(irql="== PASSIVE")
def ObReleaseObjectSecurity(
    nt: Kernel, SecurityDescriptor: PVOID, MemoryAllocated: BOOLEAN
) -> None:
    """Give back what ObGetObjectSecurity returned. Source: WDK ObReleaseObjectSecurity."""
    if MemoryAllocated:
        nt.free_pool(SecurityDescriptor)


@export(irql="== PASSIVE")
def SeCaptureSecurityDescriptor(
    nt: Kernel,
    OriginalSecurityDescriptor: PVOID,
    CurrentMode: KPROCESSOR_MODE,
    PoolType: POOL_TYPE,
    CaptureIfKernel: BOOLEAN,
    CapturedSecurityDescriptor: Out[PVOID],
) -> NTSTATUS:
    """A self-relative copy in pool; the original itself for KernelMode without CaptureIfKernel.

    NULL stays NULL; a revision other than 1 is STATUS_UNKNOWN_REVISION. Source: ntifs.h; ReactOS
    ntoskrnl/se/sd.c.
    """
    if not OriginalSecurityDescriptor or not (CurrentMode or CaptureIfKernel):
        CapturedSecurityDescriptor[0] = OriginalSecurityDescriptor
        return ntstatus.STATUS_SUCCESS
    if nt.mmu.read(OriginalSecurityDescriptor, 1)[0] != c.SECURITY_DESCRIPTOR_REVISION:
        return ntstatus.STATUS_UNKNOWN_REVISION
    if not is_valid(nt, OriginalSecurityDescriptor):
        owner = parts(nt, OriginalSecurityDescriptor).owner
        return ntstatus.STATUS_INVALID_SID if owner else ntstatus.STATUS_INVALID_ACL
    made = nt.se.store(self_relative(nt, OriginalSecurityDescriptor))
    CapturedSecurityDescriptor[0] = made
    return ntstatus.STATUS_SUCCESS if made else ntstatus.STATUS_INSUFFICIENT_RESOURCES


@export(irql="== PASSIVE")
def SeReleaseSecurityDescriptor(
    nt: Kernel,
    CapturedSecurityDescriptor: PVOID,
    CurrentMode: KPROCESSOR_MODE,
    CaptureIfKernelMode: BOOLEAN,
) -> NTSTATUS:
    """Free what SeCaptureSecurityDescriptor has copied. Source: ntifs.h."""
    if CapturedSecurityDescriptor and (CurrentMode or CaptureIfKernelMode):
        nt.free_pool(CapturedSecurityDescriptor)
    return ntstatus.STATUS_SUCCESS
