"""VMREAD and VMWRITE: the fields of the current VMCS."""

from ntsim.abi import vmx_constants as abi
from ntsim.hw.vmx.fields import type_of
from ntsim.hw.vmx.instructions.guards import in_root
from ntsim.hw.vmx.results import VmFailInvalid, VmFailValid, VmxResult, WouldExit
from ntsim.hw.vmx.state import VmxState

_EXIT_VMREAD = WouldExit(abi.EXIT_REASON_VMREAD)
_EXIT_VMWRITE = WouldExit(abi.EXIT_REASON_VMWRITE)


def vmread(state: VmxState, encoding: int) -> VmxResult:
    """VMREAD: VmSucceed.value is the field, zero-extended to 64 bits.

    `encoding` is the whole 64-bit register: bits 63:32 must be 0 like any other reserved bits.
    """
    exits = in_root(state, "VMREAD", _EXIT_VMREAD)
    if exits:
        return exits
    vmcs = state.current
    if vmcs is None:
        return state.fail_invalid("VMREAD", "no current VMCS")
    value = vmcs.values.get(encoding)
    if value is None:
        if not vmcs.has(encoding):
            return _unsupported(state, "VMREAD", encoding)
        value = vmcs.read(encoding)
    return state.succeed(value)


def vmwrite(state: VmxState, encoding: int, value: int) -> VmxResult:
    """VMWRITE: store the low bits of `value` that the field has."""
    exits = in_root(state, "VMWRITE", _EXIT_VMWRITE)
    if exits:
        return exits
    vmcs = state.current
    if vmcs is None:
        return state.fail_invalid("VMWRITE", "no current VMCS")
    if encoding not in vmcs.values and not vmcs.has(encoding):
        return _unsupported(state, "VMWRITE", encoding)
    if (
        type_of(encoding) == abi.VMCS_TYPE_EXIT_INFO
        and not state.capabilities.misc.vmwrite_any_field
    ):
        return state.fail(
            "VMWRITE", abi.VMX_ERROR_READ_ONLY_COMPONENT, f"{abi.field_name(encoding)} is read-only"
        )
    vmcs.write(encoding, value)
    return state.succeed()


def _unsupported(state: VmxState, instruction: str, encoding: int) -> VmFailInvalid | VmFailValid:
    reason = f"{abi.field_name(encoding)} is not supported"
    return state.fail(instruction, abi.VMX_ERROR_UNSUPPORTED_COMPONENT, reason)
