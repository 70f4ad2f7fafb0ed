"""The EPT pointer: checked at VM entry, by INVEPT, and by EPTP switching."""

from typing import NamedTuple

from ntsim.hw.vmx.capabilities import VmxCapabilities


class Problem(NamedTuple):
    """A rule that an EPTP breaks, and what would be accepted."""

    rule: str
    accepted: str


def eptp_problem(eptp: int, capabilities: VmxCapabilities) -> Problem | None:
    """What is wrong with an EPTP, if anything (SDM 3, "VM-Execution Control Fields")."""
    ept = capabilities.ept_vpid
    if not ept.supports_memory_type(eptp & 7):
        return Problem(f"EPT memory type {eptp & 7} is not supported", "0 (UC) or 6 (WB)")
    levels = (eptp >> 3 & 7) + 1
    if not ept.supports_walk(levels):
        return Problem(f"an EPT page walk of {levels} levels is not supported", "bits 5:3 = 3")
    if eptp & 1 << 6 and not ept.accessed_dirty:
        return Problem("accessed and dirty flags for EPT are not supported", "bit 6 clear")
    if eptp & 0xF80:
        return Problem("bits 11:7 are reserved", "bits 11:7 clear")
    if not capabilities.within_physical_width(eptp):
        width = capabilities.physical_address_bits
        return Problem("the EPT PML4 is beyond the physical-address width", f"below 2**{width}")
    return None
