"""The VM-exit handler that calls the kernel, and the queue that it should have used."""

from ntsim.lab.expectation import Expectation
from ntsim.lab.facts import Facts
from ntsim.lab.scenario import Case, Scenario


def the_IRQL_is_reported_as_0xFF(facts: Facts) -> bool:
    """The IRQL is reported as 0xff: interrupts are off after a VM exit."""
    return facts.parameters[1] == 0xFF and facts.crash.irql == 0xFF


def the_exit_handler_is_on_the_stack(facts: Facts) -> bool:
    """The driver's exit handler is on the stack."""
    return any(name.endswith("!handle_vmcall") for name in facts.stack)


def both_answers_reach_the_app(facts: Facts) -> bool:
    return bool(facts.app().stdout.count("runs since") == 2)


SCENARIO = Scenario(
    name="vmexit-irql",
    summary="A VM-exit handler touches pageable memory: a fault with IRQL 0xff.",
    story=(
        "A guest asks its hypervisor for something by VMCALL. The exit handler answers on the "
        "spot: it looks up a process and writes to paged pool. But interrupts are off after every "
        "VM exit, so no page fault can be served. The fixed version queues the command for a "
        "thread at PASSIVE_LEVEL."
    ),
    look_at=(
        "Parameter 2, 0xff: not a CR8 value, but how Windows says that interrupts were off. Then "
        "driver/vmexit_queue.py, queue_command and worker."
    ),
    source='"Got interrupted? Skill issue. How to deal with 0xFF IRQL on VMEXITs."',
    case=Case(
        drivers=("driver/vmexit_queue_wrong.py",),
        apps=("userapp/vmexit_queue_app.py",),
        expected=Expectation(
            code=0xD1,
            checks=(the_IRQL_is_reported_as_0xFF, the_exit_handler_is_on_the_stack),
        ),
        ends="bug check 0xd1 with IRQL 0xff, in the exit handler",
    ),
    fixed=Case(
        drivers=("driver/vmexit_queue.py",),
        apps=("userapp/vmexit_queue_app.py",),
        unload=True,
        expected=Expectation(checks=(both_answers_reach_the_app,)),
        ends="the commands are queued, and both answers reach the app",
    ),
)
