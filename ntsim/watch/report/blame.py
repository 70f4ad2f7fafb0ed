"""Which frame a debugger names: SYMBOL_NAME, MODULE_NAME, IMAGE_NAME and the bucket.

For 0x4A and 0x1 it is the user-mode code that made the system call (in the dump of the OSR thread
"IRQ level fault, VT-x" ntdll!NtDeviceIoControlFile+14), for unhandled exceptions the code that
raised, else the innermost code that is not the kernel's. The forms of the buckets follow dumps: AV_
for page faults, 0x133_DPC_ (nmap/npcap issue 245), RAISED_IRQL_USER_FAULT for 0x4A.
"""

from __future__ import annotations

from dataclasses import dataclass

from ntsim.abi import bugcodes
from ntsim.nt.io.irp import irp_holder
from ntsim.nt.ke.bugcheck import BugCheckState
from ntsim.nt.kernel import Kernel
from ntsim.nt.ki.frames import StackFrame

AT_SYSTEM_CALL_EXIT = frozenset({0x4A, 0x1})
UNHANDLED = frozenset({0x1E, 0x3B, 0x7E})
PAGE_FAULTS = frozenset({0xA, 0xD1, 0x50, 0xCE, 0xD4, 0xBE, 0xFC})
BLOCKED = 3
_TRAP = ("KeBugCheck", "Ki")


@dataclass(frozen=True, slots=True)
class Blame:
    """`symbol_name` is `ntdll!NtDeviceIoControlFile+14`, the offset without 0x as debuggers do."""

    module: str
    image: str
    symbol_name: str
    offset: int
    bucket: str


def blame(nt: Kernel, state: BugCheckState) -> Blame:
    """Who a debugger would name."""
    if state.code == bugcodes.IRQL_UNEXPECTED_VALUE and nt.images.at(state.parameters[2]):
        return _of_routine(nt, state)
    if state.code == bugcodes.DRIVER_POWER_STATE_FAILURE and (holder := _of_holder(nt, state)):
        return holder
    frame = _frame(nt, state)
    if (frame is None or frame.image is nt.nt_image) and (found := _verified(nt, state)):
        return found
    if frame is None:
        name = bugcodes.name_of(state.code)
        image = nt.nt_image
        return Blame(image.module_name, image.file_name, image.module_name, 0, name)
    module, symbol, offset = frame.image.module_name, frame.symbol, frame.offset
    name = f"{module}!{symbol}"
    shown = f"{name}+{offset:x}" if offset else name
    return Blame(module, frame.image.file_name, shown, offset, f"{_bucket(state)}_{name}")


def _of_routine(nt: Kernel, state: BugCheckState) -> Blame:
    """0xC8: the DPC routine of parameter 3, which has returned and is on no stack any more."""
    image = nt.images.at(state.parameters[2])
    assert image is not None
    name = image.describe(state.parameters[2])
    return Blame(image.module_name, image.file_name, name, 0, f"{_bucket(state)}_{name}")


def _of_holder(nt: Kernel, state: BugCheckState) -> Blame | None:
    """0x9F/3: the driver whose stack location is current in the blocked IRP of parameter 4."""
    if state.parameters[0] != BLOCKED:
        return None
    driver = nt.io.drivers.get(irp_holder(nt, state.parameters[3]))
    if driver is None:
        return None
    image = driver.image
    bucket = f"0x9F_3_IMAGE_{image.file_name}"
    return Blame(image.module_name, image.file_name, image.module_name, 0, bucket)


def _verified(nt: Kernel, state: BugCheckState) -> Blame | None:
    """A violation after a driver's routine has returned: the routine is one of the parameters."""
    if nt.verifier is None or nt.verifier.reason is None:
        return None
    for address in (nt.verifier.reason.driver, *state.parameters[1:]):
        image = nt.images.at(address)
        if image is not None and image is not nt.nt_image:
            name, bucket = image.describe(address), _bucket(state)
            return Blame(image.module_name, image.file_name, name, 0, f"{bucket}_{name}")
    return None


def _frame(nt: Kernel, state: BugCheckState) -> StackFrame | None:
    stack = state.stack
    if state.code in AT_SYSTEM_CALL_EXIT:
        user = next((frame for frame in stack if frame.user), None)
        if user is not None:
            return user
    if state.code == bugcodes.CLOCK_WATCHDOG_TIMEOUT:
        stack = state.processors[state.parameters[3]].stack
    foreign = next((f for f in stack if f.image is not nt.nt_image and not f.user), None)
    return foreign or next((f for f in stack if not f.symbol.startswith(_TRAP)), None)


def _bucket(state: BugCheckState) -> str:
    code, one = state.code, state.parameters[0]
    if code == bugcodes.IRQL_GT_ZERO_AT_SYSTEM_SERVICE:
        return "RAISED_IRQL_USER_FAULT"
    if code in PAGE_FAULTS:
        return "AV"
    if code in UNHANDLED:
        return f"0x{code:X}_{one & 0xFFFF_FFFF:x}"
    if code == bugcodes.DPC_WATCHDOG_VIOLATION:
        return "0x133_DPC" if one == 0 else "0x133_ISR"
    if code in (0xC4, 0xC9):
        return f"0x{code:X}_{one:x}_VRF"
    if code in (bugcodes.BAD_POOL_CALLER, bugcodes.KERNEL_SECURITY_CHECK_FAILURE):
        return f"0x{code:X}_{one:x}"
    return f"0x{code:X}"
