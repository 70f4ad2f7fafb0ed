"""VMREAD and VMWRITE: the fields of the current VMCS."""

from ntsim.abi import vmx_constants as abi
from ntsim.hw.vmx.fields import type_of
from ntsim.hw.vmx.instructions import shadow
from ntsim.hw.vmx.instructions.guards import in_root
from ntsim.hw.vmx.results import (
    ARITHMETIC_FLAGS,
    VmFailInvalid,
    VmFailValid,
    VmxResult,
    WouldExit,
)
from ntsim.hw.vmx.state import VmxMode, VmxState
from ntsim.hw.vmx.vmcs import OF_EVERY_ENTRY

_MASK = 0xFFFF_FFFF_FFFF_FFFF
_ROOT = VmxMode.ROOT
_SUCCESS = ~ARITHMETIC_FLAGS
"""What an instruction that succeeds leaves of RFLAGS."""

_EXIT_VMREAD = WouldExit(abi.EXIT_REASON_VMREAD)
_EXIT_VMWRITE = WouldExit(abi.EXIT_REASON_VMWRITE)


def vmread_in_root(state: VmxState, encoding: int) -> int | None:
    """VMREAD of a whole field that succeeds: its value. The caller runs 64-bit code in ring 0, as
    all code of a host in Python does.

    None: nothing has happened, and `vmread` is to find out what does.
    """
    vmcs = state.current
    if vmcs is None or state.mode is not _ROOT:
        return None
    value = vmcs.values.get(encoding)
    if value is not None:
        state.processor.rflags &= _SUCCESS
    return value


def vmwrite_in_root(state: VmxState, encoding: int, value: int) -> bool:
    """VMWRITE of RIP, RSP or RFLAGS, as above; False: nothing has happened."""
    vmcs = state.current
    if vmcs is None or encoding not in OF_EVERY_ENTRY or state.mode is not _ROOT:
        return False
    vmcs.values[encoding] = value & _MASK
    vmcs.written.add(encoding)
    vmcs.unchecked.add(encoding)
    state.processor.rflags &= _SUCCESS
    return True


def vmread(state: VmxState, encoding: int) -> VmxResult:
    """VMREAD: VmSucceed.value is the field, zero-extended to 64 bits.

    `encoding` is the whole 64-bit register: bits 63:32 must be 0 like any other reserved bits.
    """
    exits = in_root(state, "VMREAD", _EXIT_VMREAD)
    if exits:
        return shadow.read(state, encoding) or exits
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
        return shadow.write(state, encoding, value) or exits
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
