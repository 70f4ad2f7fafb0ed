"""An EPT violation whose cause is never removed."""

from ntsim.lab.expectation import Expectation
from ntsim.lab.scenario import Case, Scenario

SCENARIO = Scenario(
    name="hv-endless-violation",
    summary=("An EPT violation whose cause is never removed."),
    story=(
        "The handler of a watched page reports the write and resumes the guest, which executes the "
        "same write again. The app never gets on."
    ),
    look_at="driver/hypervisor_crashes/hd_545.py; then the same with --fixed.",
    source="https://github.com/HyperDbg/HyperDbg/pull/545",
    case=Case(
        drivers=("driver/hypervisor_crashes/hd_545.py",),
        apps=("userapp/hypervisor_crash_app.py",),
        expected=Expectation(hangs=True),
        ends="a hang: one instruction exits 10,000 times",
    ),
    fixed=Case(
        drivers=("driver/hypervisor_system.py",),
        apps=("userapp/hypervisor_crash_app.py",),
        unload=True,
        ends="the hypervisor comes and goes",
    ),
)
