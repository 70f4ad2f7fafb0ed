"""How a guest runs under the VM-execution controls of one VMCS.

They are looked at between any two instructions, and hardly ever written: `Vmcs.controls` keeps what
is made of them here until software writes a control field.
"""

from __future__ import annotations

from dataclasses import dataclass

from ntsim.abi import vmx_constants as abi
from ntsim.hw.engine import Intercept
from ntsim.hw.vmx.vmcs import Vmcs

_WATCHED = (
    abi.CPU_BASED_MONITOR_TRAP_FLAG
    | abi.CPU_BASED_INTERRUPT_WINDOW_EXITING
    | abi.CPU_BASED_NMI_WINDOW_EXITING
)
_TIMER = abi.PIN_BASED_ACTIVATE_VMX_PREEMPTION_TIMER
_LOADING = abi.VM_ENTRY_LOAD_DEBUG_CONTROLS | abi.VM_ENTRY_LOAD_IA32_PAT
_SAVING = abi.VM_EXIT_SAVE_DEBUG_CONTROLS | abi.VM_EXIT_SAVE_IA32_PAT | abi.VM_EXIT_SAVE_IA32_EFER
_MSR_LISTS = (
    abi.VM_ENTRY_MSR_LOAD_COUNT,
    abi.VM_EXIT_MSR_STORE_COUNT,
    abi.VM_EXIT_MSR_LOAD_COUNT,
)


@dataclass(frozen=True, slots=True)
class Controls:
    """The three words of execution controls, secondary ones as 0 when not activated.

    `intercepts` is what has to stop the engine; `eptp` is None without EPT. `between`: a
    control says that something may happen between instructions. `quiet`: it does not, and entries
    and exits have no MSR lists. `loads`, `saves`:
    entries load debug controls or PAT, exits save them or IA32_EFER.
    """

    pin: int
    primary: int
    secondary: int
    intercepts: Intercept
    eptp: int | None
    between: bool
    quiet: bool
    loads: bool
    saves: bool


NO_CONTROLS = Controls(
    0, 0, 0, Intercept.DEFAULT, None, between=True, quiet=False, loads=False, saves=False
)
"""Before the first VM entry."""


def controls_of(vmcs: Vmcs) -> Controls:
    """The controls of a VMCS that a guest runs under."""
    found = vmcs.controls
    if found is None:
        found = vmcs.controls = _read(vmcs)
    return found


def _read(vmcs: Vmcs) -> Controls:
    primary = vmcs.get(abi.CPU_BASED_VM_EXEC_CONTROL)
    activated = primary & abi.CPU_BASED_ACTIVATE_SECONDARY_CONTROLS
    secondary = vmcs.get(abi.SECONDARY_VM_EXEC_CONTROL) if activated else 0
    pin = vmcs.get(abi.PIN_BASED_VM_EXEC_CONTROL)
    between = bool(primary & _WATCHED or pin & _TIMER)
    return Controls(
        pin,
        primary,
        secondary,
        _intercepts(primary, secondary),
        vmcs.get(abi.EPT_POINTER) if secondary & abi.SECONDARY_ENABLE_EPT else None,
        between,
        not (between or any(map(vmcs.get, _MSR_LISTS))),
        bool(vmcs.get(abi.VM_ENTRY_CONTROLS) & _LOADING),
        bool(vmcs.get(abi.VM_EXIT_CONTROLS) & _SAVING),
    )


def _intercepts(primary: int, secondary: int) -> Intercept:
    """What need not stop the engine executes there."""
    found = Intercept.CACHE | Intercept.PAUSE
    if primary & abi.CPU_BASED_INVLPG_EXITING:
        found |= Intercept.INVLPG
    if secondary & abi.SECONDARY_DESCRIPTOR_TABLE_EXITING:
        found |= Intercept.TABLE_READS | Intercept.TABLE_WRITES
    return found
