"""`ntsim vmcs`: a VMCS from a file, checked by all the rules of VM entry."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ntsim.abi import vmx_constants as f
from ntsim.cli import main
from ntsim.hw.silicon import PROCESSORS
from ntsim.hw.vmx.capabilities import VmxCapabilities

PAGE = "fffff80000000000"


def valid(name: str = "i7-6820HQ") -> dict[str, Any]:
    """A 64-bit guest and host that any of the processors enters."""
    processor = PROCESSORS[name]
    caps = VmxCapabilities.from_msrs(processor.capability_msrs, processor.physical_address_bits)
    fields: dict[str, Any] = {
        "PIN_BASED_VM_EXEC_CONTROL": caps.pin_based.adjust(0),
        "CPU_BASED_VM_EXEC_CONTROL": caps.primary.adjust(0),
        "VM_EXIT_CONTROLS": caps.vm_exit.adjust(f.VM_EXIT_HOST_ADDRESS_SPACE_SIZE),
        "VM_ENTRY_CONTROLS": caps.vm_entry.adjust(f.VM_ENTRY_IA32E_MODE_GUEST),
        "VMCS_LINK_POINTER": "ffffffffffffffffh",
        "GUEST_RFLAGS": 2,
        "GUEST_DR7": "0x400",
        "GUEST_TR_AR_BYTES": "0x8b",
        "GUEST_LDTR_AR_BYTES": "0x10000",
        "GUEST_CS_AR_BYTES": "0xa09b",
        "GUEST_CS_LIMIT": "0xffffffff",
        "HOST_CS_SELECTOR": 0x10,
        "HOST_TR_SELECTOR": 0x40,
    }
    for side in ("GUEST", "HOST"):
        fields |= {f"{side}_CR0": "0x80050033", f"{side}_CR3": "0x1ad000"}
        fields |= {f"{side}_CR4": "0x2020", f"{side}_RIP": "0x" + PAGE}
    for segment in ("ES", "SS", "DS", "FS", "GS"):
        fields[f"GUEST_{segment}_AR_BYTES"] = "0x10000"
    return fields


@pytest.fixture
def checked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str]]:
    """Writes a document, checks it, and gives the exit status with what was printed."""

    def check(document: Any, *options: str) -> tuple[int, str]:
        path = tmp_path / "vmcs.json"
        text = document if isinstance(document, str) else json.dumps(document)
        path.write_text(text, encoding="utf-8")
        status = main(["vmcs", "check", str(path), *options])
        printed = capsys.readouterr()
        return status, printed.out + printed.err

    return check


Checked = Callable[..., tuple[int, str]]


@pytest.mark.parametrize("name", PROCESSORS)
def test_a_valid_vmcs_enters(checked: Checked, name: str) -> None:
    status, out = checked(valid(name), "--cpu", name)
    assert (status, out.splitlines()[0]) == (0, "VMLAUNCH enters the guest.")
    assert f"Checked for: {name}." in out


def test_every_violation_is_shown_with_field_value_rule_section_and_what_is_accepted(
    checked: Checked,
) -> None:
    status, out = checked(
        valid()
        | {"PIN_BASED_VM_EXEC_CONTROL": "0x96", "HOST_TR_SELECTOR": 0, "GUEST_RFLAGS": "0x8002"}
    )
    assert status == 1
    assert out.startswith(
        "VMLAUNCH fails: VMfailValid, error 7 (VM entry with invalid control field(s)).\n"
    )
    assert (
        "Control fields (VMfailValid, error 7):\n"
        "  PIN_BASED_VM_EXEC_CONTROL (0x4000) = 0x96\n"
        "    bit 7 (PROCESS_POSTED_INTERRUPTS) must be 0: this processor lacks it\n"
        "    accepted: 0x16, as IA32_VMX_TRUE_PINBASED_CTLS (48DH) has it\n"
        '    SDM 3, "VM-Execution Control Fields"\n' in out
    )
    assert (
        "Host-state area (VMfailValid, error 8):\n"
        "  HOST_TR_SELECTOR (0x0c0c) = 0x0\n"
        "    it must not be null\n" in out
    )
    assert "Guest-state area (VM-entry failure 0x80000021, qualification 0):\n  GUEST_RFLAGS" in out


def test_the_first_stage_decides_the_outcome(checked: Checked) -> None:
    _, host = checked(valid() | {"HOST_TR_SELECTOR": 0, "GUEST_RFLAGS": 0})
    assert host.startswith("VMLAUNCH fails: VMfailValid, error 8 ")
    _, guest = checked(valid() | {"GUEST_RFLAGS": 0})
    assert guest.startswith(
        "VMLAUNCH ends in a VM-entry failure: exit reason 0x80000021 "
        "(EXIT_REASON_ENTRY_FAIL_INVALID_GUEST_STATE), qualification 0."
    )


def test_json_has_the_same_findings(checked: Checked) -> None:
    status, out = checked(valid() | {"HOST_CR4": 0}, "--json")
    result = json.loads(out)
    assert status == 1
    assert [found["field"] for found in result["violations"]] == ["HOST_CR4", "HOST_CR4"]
    first = result["violations"][0]
    assert (first["encoding"], first["value"], first["error"]) == ("0x6c04", "0x0", 8)
    assert first["section"] == 'SDM 3, "Checks on Host Control Registers, MSRs, and SSP"'


def test_silicon_counts_and_not_what_ntsim_can_run(checked: Checked) -> None:
    """The preemption timer is masked in the model and there on every i7-6820HQ."""
    controls = {"PIN_BASED_VM_EXEC_CONTROL": "0x56"}
    assert checked(valid() | controls)[0] == 0


def test_a_control_of_a_newer_processor_is_refused_on_an_older_one(checked: Checked) -> None:
    scaling = {"SECONDARY_VM_EXEC_CONTROL": "0x2000000", "TSC_MULTIPLIER": 1}
    primary = {"CPU_BASED_VM_EXEC_CONTROL": "0x84006172"}
    assert checked(valid("i7-1065G7") | primary | scaling, "--cpu", "i7-1065g7")[0] == 0
    status, out = checked(valid("Xeon-W3670") | primary | scaling, "--cpu", "Xeon-W3670")
    assert status == 1
    assert "bit 25 (USE_TSC_SCALING) must be 0: this processor lacks it" in out
    assert "Fields this processor lacks (VMWRITE fails with error 12): TSC_MULTIPLIER." in out


def test_the_files_own_capability_msrs_replace_the_processors(checked: Checked) -> None:
    document = {"fields": valid(), "msrs": {"IA32_VMX_TRUE_PINBASED_CTLS": "0x7f0000003e"}}
    status, out = checked(document)
    assert status == 1
    assert "Checked for: i7-6820HQ with the MSRs of the file." in out
    assert "bits 3 (NMI_EXITING) and 5 (VIRTUAL_NMIS) must be 1" in out
    assert checked(document | {"msrs": {"0x48d": "0x7f00000016"}})[0] == 0


def test_missing_fields_are_assumed_to_be_zero_and_named(checked: Checked) -> None:
    _, out = checked({"GUEST_RIP": 0})
    assert "Not in the file and assumed to be 0: " in out
    assert "more (--all-zeros)." in out
    _, everything = checked({"GUEST_RIP": 0}, "--all-zeros")
    assert "HOST_TR_SELECTOR" in everything.splitlines()[-1]
    assert "GUEST_RIP" not in everything.splitlines()[-1]


@pytest.mark.parametrize(
    "spelling", ["0x681e", "681Eh", "26654", "guest_rip", "VMCS_GUEST_RIP", " GUEST_RIP "]
)
def test_fields_are_known_by_name_and_by_encoding(checked: Checked, spelling: str) -> None:
    fields = valid()
    del fields["GUEST_RIP"]
    _, out = checked(fields | {spelling: "0x1000000000000"})
    assert "GUEST_RIP (0x681e) = 0x1000000000000\n    too wide a linear address" in out


def test_names_of_ia32_doc_are_known(checked: Checked) -> None:
    fields = valid()
    name = "VMCS_CTRL_PIN_BASED_VM_EXECUTION_CONTROLS"
    fields[name] = fields.pop("PIN_BASED_VM_EXEC_CONTROL")
    assert checked(fields)[0] == 0


def test_an_upper_half_sets_bits_63_to_32(checked: Checked) -> None:
    halves = {"GUEST_IA32_DEBUGCTL": 1, "GUEST_IA32_DEBUGCTL_HIGH": 2}
    entry = {"VM_ENTRY_CONTROLS": "0x13ff"}
    _, out = checked(valid() | entry | halves)
    assert "GUEST_IA32_DEBUGCTL (0x2802) = 0x200000001" in out
    _, encodings = checked(valid() | entry | {"0x2802": 1, "0x2803": 2})
    assert "GUEST_IA32_DEBUGCTL (0x2802) = 0x200000001" in encodings


class TestMemory:
    """What pointers lead to comes from the file; without it the check is said not to be made."""

    LINK = {"VMCS_LINK_POINTER": "0x5000"}

    def test_unknown_memory_is_said_to_be_unchecked(self, checked: Checked) -> None:
        status, out = checked(valid() | self.LINK)
        assert status == 0
        assert out.startswith("VMLAUNCH enters the guest, as far as could be checked.")
        assert "the bytes at 0x5000 are not in the file's memory." in out

    @pytest.mark.parametrize(("revision", "status"), [("04000000", 0), ("05000000", 1)])
    def test_the_link_pointers_region(self, checked: Checked, revision: str, status: int) -> None:
        document = {"fields": valid() | self.LINK, "memory": {"0x5000": revision}}
        found, out = checked(document)
        assert found == status
        if status:
            assert "qualification 4" in out

    def test_the_vmcs_itself_is_no_link(self, checked: Checked) -> None:
        document = {"fields": valid() | self.LINK, "memory": {"0x5000": "04000000"}}
        _, out = checked(document | {"address": "0x5000"})
        assert "it is the current VMCS itself" in out

    def test_the_msr_load_list(self, checked: Checked) -> None:
        area = {"VM_ENTRY_MSR_LOAD_COUNT": 2, "VM_ENTRY_MSR_LOAD_ADDR": "0x6000"}
        good = "740100000000000000000000" + "00000000"
        bad = "010100c00000000000000000" + "00000000"
        document = {"fields": valid() | area, "memory": {"0x6000": good + bad}}
        _, out = checked(document)
        assert out.startswith("VMLAUNCH ends in a VM-entry failure: exit reason 0x80000022 ")
        assert "entry 2 of the list: MSR 0xc0000101 is never loaded from a list" in out


@pytest.mark.parametrize(
    ("context", "error"),
    [
        ({"processor": {"blocking_by_mov_ss": True}}, 26),
        ({"launch_state": "launched"}, 4),
        ({"launch_state": "clear", "instruction": "VMRESUME"}, 5),
    ],
)
def test_what_the_instruction_itself_refuses(
    checked: Checked, context: dict[str, Any], error: int
) -> None:
    status, out = checked({"fields": valid()} | context)
    assert status == 1
    assert f"VMfailValid, error {error} (" in out.splitlines()[0]


def test_a_processor_outside_long_mode_cannot_have_a_64_bit_host(checked: Checked) -> None:
    _, out = checked({"fields": valid(), "processor": {"long_mode": False}})
    assert 'IA32_EFER.LMA is 0 and "host address-space size" is not' in out


def test_what_the_file_says_of_its_own_failure_is_compared(checked: Checked) -> None:
    _, explained = checked(valid() | {"VM_INSTRUCTION_ERROR": 8, "HOST_TR_SELECTOR": 0})
    assert "The file's VM_INSTRUCTION_ERROR is 8: VM entry with invalid host-state" in explained
    assert "Nothing here explains" not in explained
    _, unexplained = checked(valid() | {"VM_INSTRUCTION_ERROR": 7})
    assert "Nothing here explains that error" in unexplained


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ("{", "not JSON"),
        ("[]", "a JSON object of VMCS fields is needed"),
        ('{"GUEST_RIP": 0x10}', 'hexadecimal numbers are strings in JSON: "0x16"'),
        ('{"GUEST_RIP": 1, "GUEST_RIP": 2}', "'GUEST_RIP' is given twice"),
        ({"GUEST_RPI": 0}, "no VMCS field is called 'GUEST_RPI': did you mean GUEST_"),
        ({"0x6830": 0}, "no VMCS field is called '0x6830'"),
        ({"GUEST_CS_SELECTOR": "0x12345"}, "more than the field's 16 bits (VMWRITE would keep"),
        ({"GUEST_RIP": "ten"}, "fields.GUEST_RIP: 'ten' is not a number"),
        ({"GUEST_RIP": -1}, "-1 is negative: write all 64 bits"),
        ({"GUEST_RIP": 1, "0x681e": 1}, "are the same field, 0x681e: give one"),
        ({"fields": {}, "CPU": "x"}, "CPU: no such member: beside fields there are cpu, msrs"),
        ({"fields": {}, "cpu": "486"}, "no CPU model is called '486'"),
        ({"fields": {}, "msrs": {"IA32_VMX_BASICS": 1}}, "did you mean IA32_VMX_BASIC, "),
        ({"fields": {}, "msrs": {"0x10": 1}}, "those are 0x480 to 0x493"),
        ({"fields": {}, "memory": {"0x1000": "xy"}}, "two for each byte"),
    ],
)
def test_a_file_that_cannot_be_checked_says_why(
    checked: Checked, document: Any, message: str
) -> None:
    status, out = checked(document)
    assert status == 2
    assert message in out


def test_all_that_is_wrong_with_a_file_is_said_at_once(checked: Checked) -> None:
    _, out = checked({"GUEST_RPI": 0, "GUEST_CS_SELECTOR": "0x10000", "HOST_TB": 1})
    assert out.count("\n  ") == 3


def test_a_file_that_is_not_there(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["vmcs", "check", "nowhere.json"]) == 2
    assert "nowhere.json: No such file" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("CPU_BASED_VM_EXEC_CONTROL", "0x80"), "  bit  7  HLT_EXITING"),
        (("0x4816", "0xa09b"), "  type 11, DPL 0, S (code or data), P, L (64-bit code), G"),
        (("VM_EXIT_REASON", "0x80000021"), "  33: EXIT_REASON_ENTRY_FAIL_INVALID_GUEST_STATE, a"),
        (("0x4404", "0x80000b0e"), "  hardware exception, vector 14, with an error code"),
        (("VM_INSTRUCTION_ERROR", "7"), "  VM entry with invalid control field(s)"),
        (("TSC_OFFSET_HIGH",), "(0x2011): 64-bit control field, upper half, index 8, read and"),
    ],
)
def test_decode(
    arguments: tuple[str, ...], expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["vmcs", "decode", *arguments])
    assert expected in capsys.readouterr().out


def test_fields_lists_by_name_and_encoding(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["vmcs", "fields", "tsc_m", "--cpu", "Xeon-W3670"]) == 0
    assert capsys.readouterr().out == (
        "0x2032  64 bits  control      TSC_MULTIPLIER  not on this processor\n"
    )
    assert main(["vmcs", "fields", "681e"]) == 0
    assert "GUEST_RIP" in capsys.readouterr().out
    assert main(["vmcs", "fields", "nothing"]) == 2
