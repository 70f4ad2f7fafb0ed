"""VT-x of one logical processor, with its instructions as methods.

What each returns, and the #UD and #GP(0) it raises, are in the instruction's own file. Pointers
are 64-bit physical addresses already read from memory: faults of a memory operand are the caller's.
An instruction that ends normally has set RFLAGS.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ntsim.hw.vmx.exit_information import ExitInformation
from ntsim.hw.vmx.exits import GuestExit, perform
from ntsim.hw.vmx.instructions import access, entry, invalidate, operation, pointers
from ntsim.hw.vmx.instructions.entry import EntryResult
from ntsim.hw.vmx.instructions.vmcall import vmcall
from ntsim.hw.vmx.results import VmxResult, WouldExit
from ntsim.hw.vmx.state import VmxState

if TYPE_CHECKING:
    from ntsim.hw.engine import Engine
    from ntsim.hw.vmx.guest.state import Guest


class VmxUnit(VmxState):
    """`VmxState` and what can be done to it. `engine` is set before the first guest runs."""

    engine: Engine | None = None
    _guest: Guest | None = None

    def vmxon(self, pointer: int) -> VmxResult:
        """VMXON m64."""
        return operation.vmxon(self, pointer)

    def vmxoff(self) -> VmxResult:
        """VMXOFF."""
        return operation.vmxoff(self)

    def vmclear(self, pointer: int) -> VmxResult:
        """VMCLEAR m64."""
        return pointers.vmclear(self, pointer)

    def vmptrld(self, pointer: int) -> VmxResult:
        """VMPTRLD m64."""
        return pointers.vmptrld(self, pointer)

    def vmptrst(self) -> VmxResult:
        """VMPTRST m64; VmSucceed.value is the pointer."""
        return pointers.vmptrst(self)

    def vmread(self, encoding: int) -> VmxResult:
        """VMREAD; VmSucceed.value is the field."""
        return access.vmread(self, encoding)

    def vmwrite(self, encoding: int, value: int) -> VmxResult:
        """VMWRITE."""
        return access.vmwrite(self, encoding, value)

    def vmlaunch(self) -> EntryResult:
        """VMLAUNCH."""
        return entry.vmlaunch(self)

    def vmresume(self) -> EntryResult:
        """VMRESUME."""
        return entry.vmresume(self)

    def vmcall(self) -> VmxResult:
        """VMCALL."""
        return vmcall(self)

    def invept(self, kind: int, eptp: int, reserved: int = 0) -> VmxResult:
        """INVEPT r64, m128."""
        return invalidate.invept(self, kind, eptp, reserved)

    def invvpid(self, kind: int, descriptor_low: int, address: int) -> VmxResult:
        """INVVPID r64, m128."""
        return invalidate.invvpid(self, kind, descriptor_low, address)

    def exit(self, cause: WouldExit | ExitInformation) -> GuestExit:
        """Perform the VM exit that an instruction executed in non-root operation asked for."""
        if isinstance(cause, WouldExit):
            cause = ExitInformation(
                cause.reason,
                cause.qualification,
                cause.instruction_length,
                cause.instruction_information,
            )
        return perform(self, cause)

    def run_guest(self, steps: int) -> GuestExit | None:
        """Run the guest for at most `steps` instructions; `retired` says how many it took.

        None: the quantum is over, or the guest waits (`activity`). Else the VM exit that was.
        """
        if self._guest is None:
            from ntsim.hw.vmx.guest.state import Guest

            assert self.engine is not None, "give the unit an engine before it runs a guest"
            self._guest = Guest(self, self.engine)
        from ntsim.hw.vmx.guest.run import run

        return run(self._guest, steps)

    def write_back(self) -> None:
        """Put every active VMCS into its region, for a crash dump; they stay active."""
        for vmcs in self.active.values():
            pointers.write_back(self, vmcs)
