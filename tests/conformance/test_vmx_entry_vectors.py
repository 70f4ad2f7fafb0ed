"""VM-entry checks against 1,493 executed vectors (data/vmx_entry_vectors.txt says from where).

Where the SDM decides otherwise than the model that produced them, vmx_divergences.json has the
vector with the section; every other one has to agree.
"""

import json
from functools import cache
from pathlib import Path

import pytest

from ntsim.hw.vmx.capabilities import VmxCapabilities
from ntsim.hw.vmx.entry import EntryFailure, EntryMode, VmFail, audit, check
from ntsim.hw.vmx.results import Entered

HERE = Path(__file__).parent
VMCS_ADDRESS = 0x3000


class ZeroMemory:
    """16 MiB of zeros."""

    def read(self, pa, size):
        if pa + size > 1 << 24:
            raise IndexError(pa)
        return bytes(size)

    def write(self, pa, data):
        raise AssertionError("checks write nothing")


class Fields(dict):
    """A VMCS as a plain mapping."""

    address = VMCS_ADDRESS

    def get(self, encoding):
        return super().get(encoding, 0)


def assignments(text):
    return {int(f, 16): int(v, 16) for f, _, v in (one.partition("=") for one in text)}


@cache
def vectors():
    """(capabilities, base fields, {"field=value": outcome})."""
    msrs, width, base, cases = {}, 0, {}, {}
    path = HERE / "data" / "vmx_entry_vectors.txt"
    for line in path.read_text(encoding="ascii").splitlines():
        kind, *rest = line.split(" ")
        if kind == "capability":
            msrs[int(rest[0], 16)] = int(rest[1], 16)
        elif kind == "width":
            width = int(rest[0])
        elif kind == "base":
            base |= assignments(rest)
        elif kind == "vector":
            cases[rest[0]] = " ".join(rest[1:])
    return VmxCapabilities.from_msrs(msrs, width), base, cases


@cache
def divergences():
    """{"field=value": outcome by the SDM}."""
    groups = json.loads((HERE / "vmx_divergences.json").read_text(encoding="utf-8"))["groups"]
    return {vector: group["by_the_sdm"] for group in groups for vector in group["vectors"]}


def candidate(change):
    capabilities, base, _ = vectors()
    return Fields(base | assignments(change.split(","))), capabilities, ZeroMemory(), EntryMode()


def outcome(change):
    result = check(*candidate(change))
    if isinstance(result, VmFail):
        return f"fail {result.error}"
    if isinstance(result, EntryFailure):
        return f"exit {result.reason & 0xFFFF} {result.qualification}"
    assert isinstance(result, Entered)
    return "entered"


@pytest.mark.parametrize("change", vectors()[2])
def test_the_checks_agree_with_the_vector_or_with_the_sdm(change):
    expected = divergences().get(change, vectors()[2][change])
    assert outcome(change) == expected


def test_each_divergence_names_a_vector_that_differs_and_a_section():
    _, _, cases = vectors()
    assert all(cases[change] != decided for change, decided in divergences().items())
    groups = json.loads((HERE / "vmx_divergences.json").read_text(encoding="utf-8"))["groups"]
    assert all(group["section"] and group["why"] for group in groups)


def test_the_unchanged_vmcs_has_nothing_wrong():
    capabilities, base, _ = vectors()
    assert audit(Fields(base), capabilities, ZeroMemory(), EntryMode()) == []


def test_an_audit_lists_everything_that_is_wrong_in_the_order_of_the_checks():
    wrong = audit(*candidate("4000=0,c0c=0,6820=0"))
    assert [violation.field for violation in wrong] == [0x4000, 0x0C0C, 0x6820]
    assert "HOST_TR_SELECTOR is 0x0: it must not be null" in str(wrong[1])
    assert "Checks on Host Segment and Descriptor-Table Registers" in str(wrong[1])
