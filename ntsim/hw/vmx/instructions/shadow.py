"""VMREAD and VMWRITE of a guest that go to a shadow VMCS instead of exiting.

The shadow VMCS is the one that the VMCS link pointer of the guest's VMCS names. It is active on the
processor from its first use.
Source: SDM 3, "Instructions That Cause VM Exits Conditionally" (VMREAD, VMWRITE), "Shadow VMCSs";
the pseudocode of both instructions.
"""

from ntsim.abi import vmx_constants as abi
from ntsim.hw.vmx.fields import type_of
from ntsim.hw.vmx.instructions.guards import require_ring_0
from ntsim.hw.vmx.instructions.pointers import activate
from ntsim.hw.vmx.results import VmFailInvalid, VmFailValid, VmxResult, flags_after
from ntsim.hw.vmx.state import VmxState
from ntsim.hw.vmx.vmcs import NO_POINTER, Vmcs, peek

_ENCODINGS = 15
"""The bitmaps have a bit for each encoding of so many bits; others exit."""


def read(state: VmxState, encoding: int) -> VmxResult | None:
    """VMREAD in non-root operation; None: it exits."""
    if not _shadowed(state, encoding, abi.VMREAD_BITMAP):
        return None
    require_ring_0(state, "VMREAD")
    shadow = _linked(state)
    if shadow is None:
        return state.fail_invalid("VMREAD", "the VMCS link pointer is not valid")
    if not shadow.has(encoding):
        return _fail(state, shadow, "VMREAD", abi.VMX_ERROR_UNSUPPORTED_COMPONENT, encoding)
    return state.succeed(shadow.read(encoding))


def write(state: VmxState, encoding: int, value: int) -> VmxResult | None:
    """VMWRITE in non-root operation; None: it exits."""
    if not _shadowed(state, encoding, abi.VMWRITE_BITMAP):
        return None
    require_ring_0(state, "VMWRITE")
    shadow = _linked(state)
    if shadow is None:
        return state.fail_invalid("VMWRITE", "the VMCS link pointer is not valid")
    if not shadow.has(encoding):
        return _fail(state, shadow, "VMWRITE", abi.VMX_ERROR_UNSUPPORTED_COMPONENT, encoding)
    read_only = type_of(encoding) == abi.VMCS_TYPE_EXIT_INFO
    if read_only and not state.capabilities.misc.vmwrite_any_field:
        return _fail(state, shadow, "VMWRITE", abi.VMX_ERROR_READ_ONLY_COMPONENT, encoding)
    shadow.write(encoding, value)
    return state.succeed()


def _shadowed(state: VmxState, encoding: int, bitmap: int) -> bool:
    """VMCS shadowing is on and the bitmap's bit of the encoding is 0."""
    vmcs = state.current
    assert vmcs is not None, "a guest runs without a VMCS"
    primary = vmcs.get(abi.CPU_BASED_VM_EXEC_CONTROL)
    secondary = vmcs.get(abi.SECONDARY_VM_EXEC_CONTROL)
    on = primary & abi.CPU_BASED_ACTIVATE_SECONDARY_CONTROLS
    if not (on and secondary & abi.SECONDARY_VMCS_SHADOWING) or encoding >> _ENCODINGS:
        return False
    byte = peek(state.processor.memory, vmcs.get(bitmap) + (encoding >> 3), 1)[0]
    return not byte >> (encoding & 7) & 1


def _linked(state: VmxState) -> Vmcs | None:
    assert state.current is not None
    pointer = state.current.get(abi.VMCS_LINK_POINTER)
    if pointer == NO_POINTER:
        return None
    return state.active.get(pointer) or activate(state, pointer)


def _fail(
    state: VmxState, shadow: Vmcs, instruction: str, error: int, encoding: int
) -> VmFailInvalid | VmFailValid:
    """VMfailValid: the error number is the shadow VMCS's."""
    shadow.put(abi.VM_INSTRUCTION_ERROR, error)
    result = VmFailValid(error, f"{instruction} of {abi.field_name(encoding)} in the shadow VMCS")
    state.processor.rflags = flags_after(state.processor.rflags, result)
    return result
