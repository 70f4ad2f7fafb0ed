"""VMFUNC: what a guest may do without its hypervisor. Function 0, EPTP switching, is all there is.

Source: SDM 3, "VM Functions": general operation, EPTP switching.
"""

from ntsim.abi import vmx_constants as abi
from ntsim.hw.exceptions import invalid_opcode
from ntsim.hw.vmx.entry.ept_pointer import eptp_problem
from ntsim.hw.vmx.results import SUCCESS, VmSucceed, WouldExit
from ntsim.hw.vmx.state import VmxState
from ntsim.hw.vmx.vmcs import peek

_EXIT_VMFUNC = WouldExit(abi.EXIT_REASON_VMFUNC)
_FUNCTIONS, _EPTP_SWITCHING = 64, 0
_LIST_ENTRIES = 512
_LOW_32 = 0xFFFF_FFFF


def vmfunc(state: VmxState, function: int = 0, argument: int = 0) -> VmSucceed | WouldExit:
    """VMFUNC with EAX = `function` and ECX = `argument`; it changes no flags.

    #UD outside a guest that has VM functions. WouldExit for a function that is not enabled, and for
    an entry of the EPTP list that no VM entry would accept.
    """
    vmcs = state.current
    if not state.in_non_root or vmcs is None or not _enabled(state):
        raise invalid_opcode("VMFUNC where VM functions are not enabled")
    function, argument = function & _LOW_32, argument & _LOW_32
    if function >= _FUNCTIONS:
        raise invalid_opcode(f"VMFUNC with EAX = {function:#x}")
    if not vmcs.get(abi.VM_FUNCTION_CONTROL) >> function & 1 or argument >= _LIST_ENTRIES:
        return _EXIT_VMFUNC
    assert function == _EPTP_SWITCHING, "IA32_VMX_VMFUNC has one function"
    place = vmcs.get(abi.EPTP_LIST_ADDR) + 8 * argument
    pointer = int.from_bytes(peek(state.processor.memory, place, 8), "little")
    if eptp_problem(pointer, state.capabilities):
        return _EXIT_VMFUNC
    vmcs.put(abi.EPT_POINTER, pointer)
    vmcs.controls = None
    if vmcs.get(abi.SECONDARY_VM_EXEC_CONTROL) & abi.SECONDARY_EPT_VIOLATION_VE:
        vmcs.put(abi.EPTP_INDEX, argument & 0xFFFF)
    return SUCCESS


def _enabled(state: VmxState) -> bool:
    assert state.current is not None
    get = state.current.get
    activated = get(abi.CPU_BASED_VM_EXEC_CONTROL) & abi.CPU_BASED_ACTIVATE_SECONDARY_CONTROLS
    secondary = get(abi.SECONDARY_VM_EXEC_CONTROL)
    return bool(activated and secondary & abi.SECONDARY_ENABLE_VM_FUNCTIONS)
