"""The tutorial's part 4: ePT tables, and what an address becomes in them."""

import re

from ntsim.lab.expectation import Expectation
from ntsim.lab.facts import Facts
from ntsim.lab.scenario import Case, Scenario


def an_address_of_RAM_is_itself(facts: Facts) -> bool:
    """Guest-physical RAM is at the same machine address."""
    text: str = facts.app().stdout
    asked = re.findall(r"guest-physical (0x[0-9a-f]+)", text)
    return asked[0] in re.findall(r"machine address (0x[0-9a-f]+)", text)


def an_address_above_the_map_is_not_mapped(facts: Facts) -> bool:
    return "not mapped" in facts.app().stdout


SCENARIO = Scenario(
    name="hfs-part4",
    summary="Hypervisor From Scratch, part 4: EPT tables, and what an address becomes in them.",
    story=(
        "The driver maps guest-physical memory to itself in pages of 2 MiB. The app asks for "
        "a page of "
        "its own and for an address far above: the entries of each level, and where the walk ends."
    ),
    look_at="driver/hypervisor/ept.py, Translate: it does what the processor does.",
    source=(
        "Hypervisor From Scratch, part 4: Address Translation Using Extended Page Table; "
        "SDM 3, EPT."
    ),
    case=Case(
        drivers=("driver/hypervisor_system.py",),
        apps=("userapp/hypervisor_part4_app.py",),
        unload=True,
        expected=Expectation(
            checks=(
                an_address_of_RAM_is_itself,
                an_address_above_the_map_is_not_mapped,
            )
        ),
        ends="the app sees its page's four entries, and one address that is not mapped",
    ),
)
