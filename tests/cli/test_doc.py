"""`ntsim doc`."""

import pytest

import ntsim.nt.exports
from ntsim.cli import main


@pytest.fixture(autouse=True)
def only_ke_is_modelled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ntsim.nt.exports, "is_modelled", lambda name: name.startswith("Ke"))


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    status = main(["doc", *arguments])
    out, err = capsys.readouterr()
    return status, out, err


def test_prototype_irql_python_forms_and_rules(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, err = run(capsys, "KeAcquireSpinLock")
    assert (status, err) == (0, "")
    assert out.splitlines()[:9] == [
        "VOID KeAcquireSpinLock(",
        "    [in, out] PKSPIN_LOCK SpinLock,",
        "    [out]     PKIRQL      OldIrql",
        ");",
        "",
        "IRQL      <= DISPATCH_LEVEL",
        "          raises to DISPATCH_LEVEL",
        "Python    OldIrql = KeAcquireSpinLock(SpinLock)",
        "          or KeAcquireSpinLock(SpinLock, OldIrql), OldIrql stored through, as in C",
    ]
    assert "On x64    a macro or inline function over KeAcquireSpinLockRaiseToDpc\n" in out
    assert "Rules     Driver Verifier: IrqlKeDispatchLte (0xC4/0x20011), SpinLock (0xC4/" in out
    assert "          static only: MarkingQueuedIrps" in out
    assert out.endswith("Modelled  yes\n")


def test_status_comes_before_out_arguments(capsys: pytest.CaptureFixture[str]) -> None:
    out = run(capsys, "PsCreateSystemThread")[1]
    assert "Python    Status, ThreadHandle = PsCreateSystemThread(DesiredAccess," in out
    assert "[out, optional] PCLIENT_ID" in out


def test_a_routine_without_out_arguments_has_one_form(capsys: pytest.CaptureFixture[str]) -> None:
    out = run(capsys, "KeDelayExecutionThread")[1]
    assert "Python    Status = KeDelayExecutionThread(WaitMode, Alertable, Interval)\n" in out
    assert "stored through" not in out


def test_conditional_limits_are_shown_one_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    out = run(capsys, "KeSetEvent")[1]
    assert "IRQL      <= DISPATCH_LEVEL if Wait==0\n          <= APC_LEVEL if Wait==1\n" in out


def test_a_limit_that_the_documentation_gives_differently(
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = run(capsys, "KeSetSystemAffinityThreadEx")[1]
    assert "the documentation says <= DISPATCH_LEVEL" in out


def test_variable_arguments_and_no_arguments(capsys: pytest.CaptureFixture[str]) -> None:
    assert "Result = DbgPrint(Format, *arguments)" in run(capsys, "DbgPrint")[1]
    assert run(capsys, "KeGetCurrentIrql")[1].startswith("KIRQL KeGetCurrentIrql(VOID);\n")


def test_a_routine_that_is_not_modelled_says_what_happens(
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = run(capsys, "IoCreateDevice")[1]
    assert "Modelled  no: a driver that uses IoCreateDevice loads, and the run stops" in out


def test_a_macro_without_known_types_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    out = run(capsys, "RtlIsRoot")[1]
    assert out.startswith("RtlIsRoot(Links)  // a macro")
    assert "IRQL      not stated" in out


def test_no_line_is_wider_than_100_columns(capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("KeWaitForSingleObject", "IoCallDriver", "ZwCreateFile"):
        assert max(map(len, run(capsys, name)[1].splitlines())) <= 100


@pytest.mark.parametrize(
    ("arguments", "advice"),
    [
        ([], "Missing argument"),
        (["keraiseirql"], "did you mean KeRaiseIrql?"),
        (["KeSetEvnt"], "KeSetEvent"),
        (["Zork"], "spelled as in the WDK"),
    ],
)
def test_bad_input_says_what_to_do_and_exits_2(
    capsys: pytest.CaptureFixture[str], arguments: list[str], advice: str
) -> None:
    status, out, err = run(capsys, *arguments)
    assert (status, out) == (2, "")
    assert advice in err
