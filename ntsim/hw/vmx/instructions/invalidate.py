"""INVEPT and INVVPID: forgetting cached translations.

The engine's translations are dropped through `VmxState.translations_invalid`, which the guest's
run loop looks at before it goes on.
"""

from ntsim.abi import vmx_constants as abi
from ntsim.hw.exceptions import invalid_opcode
from ntsim.hw.vmx.entry.ept_pointer import eptp_problem
from ntsim.hw.vmx.instructions.guards import in_root
from ntsim.hw.vmx.results import VmxResult, WouldExit
from ntsim.hw.vmx.state import VmxState

_EXIT_INVEPT = WouldExit(abi.EXIT_REASON_INVEPT, instruction_length=5)
_EXIT_INVVPID = WouldExit(abi.EXIT_REASON_INVVPID, instruction_length=5)
_INDIVIDUAL_ADDRESS, _ALL_CONTEXT = 0, 2
_SINGLE_EPT_CONTEXT = 1


def invept(state: VmxState, kind: int, eptp: int, reserved: int = 0) -> VmxResult:
    """INVEPT r64, m128: `eptp` and `reserved` are the descriptor's two halves."""
    if not state.capabilities.ept_vpid.invept:
        raise invalid_opcode("INVEPT is not supported")
    exits = in_root(state, "INVEPT", _EXIT_INVEPT)
    if exits:
        return exits
    if not state.capabilities.ept_vpid.invept_type(kind):
        return state.fail(
            "INVEPT",
            abi.VMX_ERROR_INVALID_INVEPT_INVVPID_OPERAND,
            f"type {kind:#x} is not supported",
        )
    if reserved:
        return state.fail(
            "INVEPT",
            abi.VMX_ERROR_INVALID_INVEPT_INVVPID_OPERAND,
            "bits 127:64 of the descriptor are reserved",
        )
    if kind == _SINGLE_EPT_CONTEXT:
        problem = eptp_problem(eptp, state.capabilities)
        if problem:
            return state.fail(
                "INVEPT",
                abi.VMX_ERROR_INVALID_INVEPT_INVVPID_OPERAND,
                f"EPTP {eptp:#x}: {problem.rule}",
            )
    state.translations_invalid = True
    return state.succeed()


def invvpid(state: VmxState, kind: int, descriptor_low: int, address: int) -> VmxResult:
    """INVVPID r64, m128: VPID in bits 15:0 of `descriptor_low`, linear `address` in bits 127:64."""
    if not state.capabilities.ept_vpid.invvpid:
        raise invalid_opcode("INVVPID is not supported")
    exits = in_root(state, "INVVPID", _EXIT_INVVPID)
    if exits:
        return exits
    if not state.capabilities.ept_vpid.invvpid_type(kind):
        return state.fail(
            "INVVPID",
            abi.VMX_ERROR_INVALID_INVEPT_INVVPID_OPERAND,
            f"type {kind:#x} is not supported",
        )
    if descriptor_low >> 16:
        return state.fail(
            "INVVPID",
            abi.VMX_ERROR_INVALID_INVEPT_INVVPID_OPERAND,
            "bits 63:16 of the descriptor are reserved",
        )
    if kind != _ALL_CONTEXT and not descriptor_low & 0xFFFF:
        return state.fail("INVVPID", abi.VMX_ERROR_INVALID_INVEPT_INVVPID_OPERAND, "VPID 0")
    if kind == _INDIVIDUAL_ADDRESS and not state.capabilities.is_canonical(address):
        return state.fail(
            "INVVPID",
            abi.VMX_ERROR_INVALID_INVEPT_INVVPID_OPERAND,
            f"linear address {address:#x} is not canonical",
        )
    state.translations_invalid = True
    return state.succeed()
