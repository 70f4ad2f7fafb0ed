"""VT-x of one logical processor, with its instructions as methods.

What each returns, and the #UD and #GP(0) it raises, are in the instruction's own file. Pointers
are 64-bit physical addresses already read from memory: faults of a memory operand are the caller's.
An instruction that ends normally has set RFLAGS.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ntsim.hw.vmx.exit_information import ExitInformation
from ntsim.hw.vmx.exits import GuestExit, perform
from ntsim.hw.vmx.instructions import access, entry, invalidate, operation, pointers
from ntsim.hw.vmx.instructions.vmcall import vmcall
from ntsim.hw.vmx.instructions.vmfunc import vmfunc
from ntsim.hw.vmx.results import WouldExit
from ntsim.hw.vmx.state import VmxState

if TYPE_CHECKING:
    from ntsim.hw.engine import Engine
    from ntsim.hw.vmx.guest.state import Guest
    from ntsim.hw.vmx.instructions.entry import EntryResult


class VmxUnit(VmxState):
    """`VmxState` and what can be done to it. `engine` is set before the first guest runs.

    Where the guest is the running system, `system` and `leave_system` are of who runs its code; see
    `virtualised.py`. `resumed` is what came of the VMRESUME that an exit handler has executed, for
    who called the handler.
    """

    engine: Engine | None = None
    system: Any = None
    resumed: EntryResult | None = None
    leave_system: Callable[[ExitInformation], bool]
    _guest: Guest | None = None
    _run: Callable[[Guest, int], GuestExit | None]
    _enter: Callable[[Guest], bool]

    vmxon, vmxoff = operation.vmxon, operation.vmxoff
    vmclear, vmptrld, vmptrst = pointers.vmclear, pointers.vmptrld, pointers.vmptrst
    vmread, vmwrite = access.vmread, access.vmwrite
    vmread_in_root, vmwrite_in_root = access.vmread_in_root, access.vmwrite_in_root
    vmlaunch, vmresume = entry.vmlaunch, entry.vmresume
    vmcall, vmfunc = vmcall, vmfunc
    invept, invvpid = invalidate.invept, invalidate.invvpid

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

    def resume_unseen(self) -> bool:
        """VMRESUME, by who runs the guest next, before anything looks at the processor.

        That still holds the host's state; from the next VM exit on it is as after `vmresume`.
        False: nothing has happened, and `vmresume` has to do it.
        """
        return self._guest is not None and self._enter(self._guest)

    def run_guest(self, steps: int) -> GuestExit | None:
        """Run the guest for at most `steps` instructions; `retired` says how many it took.

        None: the quantum is over, or the guest waits (`activity`). Else the VM exit that was.
        """
        guest = self._guest or self._first_guest()
        return self._run(guest, steps)

    def _first_guest(self) -> Guest:
        """The engine is loaded for the first guest, not before."""
        from ntsim.hw.vmx.guest import run, state, unseen

        assert self.engine is not None, "give the unit an engine before it runs a guest"
        self._run, self._enter = run.run, unseen.enter
        self._guest = state.Guest(self, self.engine)
        return self._guest

    def write_back(self) -> None:
        """Put every active VMCS into its region, for a crash dump; they stay active."""
        for vmcs in self.active.values():
            pointers.write_back(self, vmcs)
