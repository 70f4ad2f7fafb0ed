"""A function driver that never passes the system's power IRP on."""

from __future__ import annotations

from ntsim.lab.expectation import Expectation
from ntsim.lab.facts import Facts
from ntsim.lab.scenario import Case, Scenario
from ntsim.lab.scenarios import pnp_function
from ntsim.nt.events import PowerIrpSent


def parameter_1_is_3(facts: Facts) -> bool:
    """Parameter 1 is 3: a device object has held an IRP for too long."""
    return facts.parameters[0] == 3


def parameter_4_is_the_irp_for_the_system_state(facts: Facts) -> bool:
    """Parameter 4 is the IRP that set the system's state."""
    sent = {event.irp: event.request for event in facts.events(PowerIrpSent)}
    return sent.get(facts.parameters[3]) == "SET_POWER S3"


SCENARIO = Scenario(
    name="power-irp-lost",
    summary="A power IRP that is never completed: bug check 0x9F, ten minutes later.",
    story=(
        "The system goes to sleep. The driver marks the IRP for the system state pending, powers "
        "its device down with an IRP of its own, and forgets the first. Nothing happens for ten "
        "minutes; then the power manager's watchdog stops the system. The fixed version passes the "
        "IRP on when the device has reached its state."
    ),
    look_at=(
        "Parameter 4, the blocked IRP: its current location names the driver that has it. Then "
        "driver/pnp_function_lost_irp.py, ToasterPowerDone."
    ),
    source="The documented case of bug check 0x9F, parameter 1 = 3.",
    case=Case(
        drivers=("driver/pnp_function_lost_irp.py",),
        apps=("userapp/pnp_function_app.py",),
        devices=(pnp_function.TOASTER,),
        sleep=True,
        expected=Expectation(
            code=0x9F, checks=(parameter_1_is_3, parameter_4_is_the_irp_for_the_system_state)
        ),
        ends="bug check 0x9f: the IRP for the system's sleep was never passed on",
    ),
    fixed=Case(
        drivers=("driver/pnp_function.py",),
        apps=("userapp/pnp_function_app.py",),
        devices=(pnp_function.TOASTER,),
        sleep=True,
        unload=True,
        expected=Expectation(checks=(pnp_function.the_device_sleeps_and_wakes_with_the_system,)),
        ends="the device sleeps and wakes with the system",
    ),
)
