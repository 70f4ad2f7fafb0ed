"""HyperDbg issue 14: after VMXOFF the stack pointer is not the guest's: bug check 0x7F here.

The exit handler leaves VMX operation and goes on where the guest was, with the guest's RIP and RSP,
which it keeps in a structure for a moment. RSP is stored at one offset and loaded from another, as
happens in assembly that counts bytes by hand: RSP becomes what was there before, 0. In the report
something else was there, and the end was 0xA.
"""

from driver.hypervisor import exits
from driver.hypervisor_system import DriverEntry
from ntsim.intrin import *
from ntsim.wdm import *

__all__ = ["DriverEntry"]


class VMXOFF_STATE(Structure):
    IsExecuted: ULONGLONG
    GuestRip: ULONGLONG
    GuestRsp: ULONGLONG


GUEST_RIP_AT, GUEST_RSP_AT, LOADED_FROM = 0, 8, 16  # the structure has grown by a member
State = VMXOFF_STATE()


def ContinueAt(Rip, Rsp):
    write_bytes(State + GUEST_RIP_AT, Rip.to_bytes(8, "little"))
    write_bytes(State + GUEST_RSP_AT, Rsp.to_bytes(8, "little"))
    continue_at(Rip, int.from_bytes(read_bytes(State + LOADED_FROM, 8), "little"))


exits.continue_at = ContinueAt
