"""Invariant MDL checking: what a write request is to write does not change on its way.

`invariant-mdl-stack` compares when the request is completed with what it held when it entered the
first verified driver; `invariant-mdl-driver` also whenever a verified driver sends it on, so
that the driver which changed it is the one that stops. 0xC4/0x1010: the device, the
IRP, the buffer's system address if it has one. Reads (0x1011) are not checked: the documentation
does not say when their buffers must stay. Source: WDK "Invariant MDL Checking for Stack", "for
Driver"; Bug Check 0xC4.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ntsim.abi import wdm_constants as c
from ntsim.abi.mm import MDL
from ntsim.nt.mm.mdl import mdl_frames
from ntsim.nt.vf.hooks import before
from ntsim.nt.vf.notes import Moment, Note

if TYPE_CHECKING:
    from ntsim.nt.kernel import Kernel
    from ntsim.nt.vf.verifier import Verifier

STACK, DRIVER = "invariant-mdl-stack", "invariant-mdl-driver"


class Writes(dict[int, tuple[bytes, Moment]]):
    """What write requests on their way are to write, by IRP."""


def vi_buffer(nt: Kernel, mdl: Any) -> bytes:
    """The bytes that an MDL describes, as the device will find them."""
    v = mdl._v
    data = b"".join(nt.mm.ram.read(pa, 0x1000) for pa in mdl_frames(nt, mdl))
    return data[v.ByteOffset : v.ByteOffset + v.ByteCount]


def vi_write_begins(vf: Verifier, nt: Kernel, irp: Any, major: int, fresh: bool) -> None:
    """A dispatch routine of a verified driver is about to get a request, `fresh` from no other."""
    writes = vf.part(Writes)
    if major != c.IRP_MJ_WRITE or not irp._v.MdlAddress or (int(irp) in writes and not fresh):
        return
    mdl = MDL.at(nt.mmu, irp._v.MdlAddress)
    writes[int(irp)] = vi_buffer(nt, mdl), vf.moment()


def vi_write_checked(vf: Verifier, nt: Kernel, irp: Any, last: bool) -> None:
    """0x1010 if the buffer holds something else now."""
    writes = vf.part(Writes)
    known = writes.get(int(irp))
    if known is None:
        return
    v, (data, begun) = irp._v, known
    mdl = MDL.at(nt.mmu, v.MdlAddress)
    if last:
        del writes[int(irp)]
    if not mdl or (now := vi_buffer(nt, mdl)) == data:
        return
    at = next(i for i, (a, b) in enumerate(zip(now, data, strict=True)) if a != b)
    m = mdl._v
    mapped = m.MdlFlags & (c.MDL_MAPPED_TO_SYSTEM_VA | c.MDL_SOURCE_IS_NONPAGED_POOL)
    flights = vf.io.flights.get(int(irp))
    device = flights[-1].device if flights else 0
    why = f"The buffer of a write request was changed on its way, {at} bytes from its start."
    notes = [Note("The request came with the buffer as it was.", begun)]
    system = m.MappedSystemVa if mapped else 0
    vf.violation(0x1010, device, int(irp), system, why=why, notes=notes)


@before(STACK, "IofCompleteRequest")
def vi_write_ends(vf: Verifier, nt: Kernel, Irp: Any, Boost: int) -> None:
    vi_write_checked(vf, nt, Irp, last=True)


@before(DRIVER, "IofCompleteRequest")
def vi_write_ends_in_driver(vf: Verifier, nt: Kernel, Irp: Any, Boost: int) -> None:
    vi_write_checked(vf, nt, Irp, last=True)


@before(DRIVER, "IofCallDriver")
def vi_write_goes_on(vf: Verifier, nt: Kernel, DeviceObject: Any, Irp: Any) -> None:
    vi_write_checked(vf, nt, Irp, last=False)
