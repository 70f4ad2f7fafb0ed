"""The forum's hypervisor: a return to user mode at DISPATCH_LEVEL."""

from ntsim.lab.expectation import Expectation
from ntsim.lab.facts import Facts
from ntsim.lab.scenario import Case, Scenario
from ntsim.nt.mm import layout


def parameter_1_is_a_user_mode_address_inside_ntdll_NtDeviceIoControlFile(facts: Facts) -> bool:
    """Parameter 1 is a user-mode address inside ntdll!NtDeviceIoControlFile."""
    address = facts.parameters[0]
    inside = facts.symbol_at(address) == "ntdll!NtDeviceIoControlFile"
    return inside and layout.is_user_address(address)


def parameter_2_is_the_IRQL_2(facts: Facts) -> bool:
    """Parameter 2 is the IRQL, DISPATCH_LEVEL (2)."""
    return facts.parameters[1] == 2


def parameter_3_is_0(facts: Facts) -> bool:
    """Parameter 3 is 0."""
    return facts.parameters[2] == 0


def parameter_4_points_into_the_trap_frame(facts: Facts) -> bool:
    """Parameter 4 is the kernel address of the thread's trap frame plus 0x80."""
    address = facts.parameters[3]
    trap_frame: int = facts.crashed_thread.v.TrapFrame
    return address == trap_frame + 0x80 and not layout.is_user_address(address)


def the_system_call_exit_raised_it(facts: Facts) -> bool:
    """The exit of the system call raised it; no frame of the driver is on the stack."""
    at_exit = any(name.startswith("nt!KiSystemServiceExit") for name in facts.stack)
    return at_exit and not any(name.startswith("eh!") for name in facts.stack)


def it_happened_on_the_processor_that_ran_the_guest(facts: Facts) -> bool:
    return facts.processors_that_ran_a_guest == {facts.crash.processor}


def the_app_is_on_the_stack(facts: Facts) -> bool:
    """The stack goes on through ntdll and the app."""
    return any(name.lower().startswith("ehapp!") for name in facts.stack)


def the_app_sees_the_OUT_and_then_the_HLT(facts: Facts) -> bool:
    """The app sees the OUT of 0x41 to port 0x3f8, resumes, and gets the HLT."""
    text: str = facts.app().stdout
    out = text.find("OUT of 0x41 (16 bits), port 0x3f8")
    return 0 <= out < text.find("HLT")


SCENARIO = Scenario(
    name="osr-vtx-0x4a",
    summary="A hypervisor driver from a forum stops the machine on its first return to the app.",
    story=(
        "A driver runs 17 bytes of code in a VT-x guest for an app, as KVM does. To get from the "
        "VM-exit handler back into its IOCTL it restores a stack pointer it had saved. The first "
        "call ends in IRQL_GT_ZERO_AT_SYSTEM_SERVICE; the analysis blames "
        "ntdll!NtDeviceIoControlFile, and the driver is not on the stack."
    ),
    look_at=(
        "WHY in the report: who raised the IRQL, and the stack that was abandoned before anybody "
        "lowered it. Then diff driver/eh.py driver/eh_fixed.py."
    ),
    source='OSR NTDEV forum, "IRQ level fault, VT-x".',
    case=Case(
        drivers=("driver/eh.py",),
        apps=("userapp/ehapp.py",),
        expected=Expectation(
            code=0x4A,
            checks=(
                parameter_1_is_a_user_mode_address_inside_ntdll_NtDeviceIoControlFile,
                parameter_2_is_the_IRQL_2,
                parameter_3_is_0,
                parameter_4_points_into_the_trap_frame,
                the_system_call_exit_raised_it,
                it_happened_on_the_processor_that_ran_the_guest,
                the_app_is_on_the_stack,
            ),
        ),
        ends="bug check 0x4a when the first EH_RUN returns",
    ),
    fixed=Case(
        drivers=("driver/eh_fixed.py",),
        apps=("userapp/ehapp.py",),
        unload=True,
        expected=Expectation(checks=(the_app_sees_the_OUT_and_then_the_HLT,)),
        ends="the app sees the OUT, lets the guest go on, and gets its HLT",
    ),
)
