"""What can be asked of Driver Verifier. Source: WDK "Selecting Driver Verifier Options"."""

import pytest

from ntsim.errors import ConfigurationError
from ntsim.machine import Machine
from ntsim.nt.vf.options import OPTIONS, parse
from ntsim.nt.vf.rule_names import RULES
from ntsim.wdm import *

WINDOWS_STANDARD = 0x209BB


def test_the_standard_settings_are_windows_own() -> None:
    standard = sum(option.flag for option in OPTIONS if option.standard)
    assert standard == WINDOWS_STANDARD
    assert parse("standard").flags == WINDOWS_STANDARD
    assert parse("standard").rules == RULES


def test_names_may_be_a_text_or_a_sequence() -> None:
    assert (
        parse("special-pool, io") == parse(["special-pool", "io"]) == parse(("io", "special-pool"))
    )


def test_a_drivers_name_alone_means_the_standard_settings_for_it() -> None:
    settings = parse("Thing.sys")
    assert settings.options == parse("standard").options and settings.drivers == {"thing.sys"}


def test_an_option_can_be_left_out() -> None:
    assert parse("standard,-special-pool").options == parse("standard").options - {"special-pool"}
    assert not parse("standard,-ddi").rules


def test_verify_start_is_special_pool() -> None:
    assert "special-pool" in parse("verify-start").options


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ("specialpool", "did you mean special-pool?"),
        ("nonsense", "use standard, special-pool, force-irql"),
        ("power-delay", "option power-delay is not modelled yet"),
        ("MarkIrpPending", "Static Driver Verifier only"),
        ("PnpRemove", "rule PnpRemove is not modelled yet"),
        ("", "is no option and no rule"),
        ("-io", "nothing to verify"),
        (7, "use 'standard'"),
        ([7], "7 is no name"),
    ],
)
def test_what_cannot_be_verified_is_refused_with_what_would_do(wanted, message: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        Machine(verifier=wanted)
    assert message in str(caught.value)


def raise_and_lower() -> None:
    KeRaiseIrql(DISPATCH_LEVEL)
    KeRaiseIrql(APC_LEVEL)


def test_a_driver_that_is_not_named_is_left_alone(run_driver, bugcheck_of) -> None:
    run_driver(raise_and_lower, verifier="standard,other.sys")
    assert bugcheck_of(raise_and_lower, verifier="standard,drv.sys").code == 0xC4


def test_a_machine_without_the_verifier_checks_nothing(run_driver) -> None:
    assert run_driver(raise_and_lower).machine.nt.verifier is None
