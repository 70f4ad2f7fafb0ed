"""docs/vm-exits.md against the capability MSRs of every model, and against the tests it names."""

import re
from pathlib import Path

import pytest

from ntsim.abi import vmx_constants as f
from ntsim.hw.cpu_model import CpuModel
from ntsim.hw.silicon import PROCESSORS
from ntsim.hw.vmx.capabilities import VmxCapabilities

ROOT = Path(__file__).parents[3]
TESTS = "\n".join(path.read_text() for path in Path(__file__).parent.glob("test_*.py"))
NUMBERS = {
    value
    for name, value in vars(f).items()
    if name.startswith("EXIT_REASON_") and isinstance(value, int)
}


def rows():
    for line in (ROOT / "docs/vm-exits.md").read_text().splitlines():
        cells = [cell.strip() for cell in line.split("|")[1:-1]]
        if cells and cells[0].isdigit():
            yield int(cells[0]), *cells[1:]


def capability(models, name):
    """Whether any of the models may set the control, by its name in the constants."""
    bit = getattr(f, name)
    of = {
        "PIN": lambda caps: caps.pin_based,
        "CPU": lambda caps: caps.primary,
        "SECONDARY": lambda caps: caps.secondary,
    }[name.split("_")[0]]
    return [bool(of(VmxCapabilities.of_model(model)).may_be_one & bit) for model in models]


@pytest.fixture(scope="module")
def models():
    return [CpuModel(based_on=name) for name in PROCESSORS]


def test_every_exit_reason_has_its_row():
    assert {number for number, *_ in rows()} == NUMBERS


@pytest.mark.parametrize("row", list(rows()), ids=lambda row: row[1])
def test_a_row_says_what_the_capability_msrs_say(row, models):
    _, _, here, control, test = row
    answer = here.partition(":")[0]
    assert answer in ("yes", "no", "never")
    if control.startswith("`"):
        allowed = capability(models, control.strip("`"))
        assert any(allowed) if answer == "yes" else not any(allowed), control
    else:
        assert answer == "yes" or ":" in here, "neither a control nor a reason"
    if answer == "yes":
        assert f"def {test.strip('`')}(" in TESTS


class TestErrorNumbers:
    """docs/vmx-instructions.md."""

    ROWS = [
        (int(cells[1]), cells[3].strip())
        for cells in (
            line.split("|")
            for line in (ROOT / "docs/vmx-instructions.md").read_text().splitlines()
            if line.startswith("| ")
        )
        if cells[1].strip().isdigit()
    ]

    def test_every_number_of_the_sdm_has_its_row(self):
        assert [number for number, _ in self.ROWS] == sorted(f.INSTRUCTION_ERRORS)

    @pytest.mark.parametrize(("number", "test"), ROWS)
    def test_a_row_names_its_test_or_says_why_there_is_none(self, number, test):
        if test.startswith("`"):
            assert f"def {test.strip('`')}(" in TESTS
            assert test.startswith(f"`test_{number}_")
        else:
            assert "SMM" in test or "see 19" in test

    def test_dual_monitor_treatment_cannot_be_activated(self, models):
        """The valid bit of IA32_SMM_MONITOR_CTL can be set in SMM alone."""
        assert not any(model.msrs[f.IA32_SMM_MONITOR_CTL] & 1 for model in models)


def test_the_tests_that_stand_for_those_of_the_suite_exist():
    page = (ROOT / "docs/vm-exits.md").read_text().split("## What kvm-unit-tests covers")[1]
    named = re.findall(r"`(test_\w+)`", page)
    assert len(named) > 50
    assert [name for name in named if f"def {name}(" not in TESTS] == []
