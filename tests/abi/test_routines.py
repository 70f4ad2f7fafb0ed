"""The table of kernel routines: what it says of well-known ones, and that all of it reads."""

import pytest

from ntsim.abi import routines
from ntsim.abi.routines import Irql, Parameter, lookup, points_to_one_value


def test_a_routine_has_its_parameters_in_order() -> None:
    routine = lookup("IoCreateDevice")
    assert routine.returns == "NTSTATUS"
    assert [parameter.name for parameter in routine.parameters] == [
        "DriverObject",
        "DeviceExtensionSize",
        "DeviceName",
        "DeviceType",
        "DeviceCharacteristics",
        "Exclusive",
        "DeviceObject",
    ]
    assert routine.parameters[2] == Parameter("DeviceName", "PUNICODE_STRING", "in", optional=True)
    assert routine.parameters[6] == Parameter("DeviceObject", "PDEVICE_OBJECT *", "out", False)
    assert routine.irql == Irql(max=1)
    assert routine.prototype.startswith("NTSTATUS IoCreateDevice(PDRIVER_OBJECT DriverObject, ")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("ZwCreateFile", "= PASSIVE_LEVEL"),
        ("KeDelayExecutionThread", "<= APC_LEVEL"),
        ("KeSetEvent", "<= DISPATCH_LEVEL if Wait==0; <= APC_LEVEL if Wait==1"),
        ("KeReleaseSpinLock", "= DISPATCH_LEVEL; restores the saved level"),
        ("KeAcquireSpinLockAtDpcLevel", ">= DISPATCH_LEVEL"),
        ("KeRaiseIrqlToDpcLevel", None),
        ("KeBugCheckEx", "any level"),
        ("DbgPrint", "<= DIRQL"),
        ("KeRaiseIrql", "any level; raises to NewIrql"),
        ("KeIpiGenericCall", "<= CLOCK_LEVEL"),
    ],
)
def test_the_irql_contract_reads_as_in_the_documentation(name: str, text: str | None) -> None:
    expected = text or "<= DISPATCH_LEVEL; raises to DISPATCH_LEVEL; returns the level it found"
    assert str(lookup(name).irql).startswith(expected)


def test_where_header_and_documentation_differ_both_are_kept() -> None:
    irql = lookup("KeSetSystemAffinityThreadEx").irql
    assert irql is not None
    assert (irql.max, irql.documented) == (1, (0, 2))


@pytest.mark.parametrize(
    ("name", "returned"),
    [
        ("KeRaiseIrql", ["OldIrql"]),
        ("KeAcquireSpinLock", ["OldIrql"]),
        ("IoCreateDevice", ["DeviceObject"]),
        ("ObReferenceObjectByHandle", ["Object"]),  # its HandleInformation is _Out_opt_
        ("PsCreateSystemThread", ["ThreadHandle"]),
        ("ZwCreateFile", ["FileHandle"]),  # IO_STATUS_BLOCK is a structure
        ("KeQuerySystemTime", []),  # LARGE_INTEGER is a structure
        ("KeInitializeSpinLock", []),  # a lock stays where it is
        ("RtlInitUnicodeString", []),
        ("RtlULongAdd", ["pulResult"]),
        ("IoGetDeviceObjectPointer", ["FileObject", "DeviceObject"]),
    ],
)
def test_out_arguments_that_a_python_driver_may_leave_out(name: str, returned: list[str]) -> None:
    assert [p.name for p in lookup(name).parameters if p.returned] == returned


@pytest.mark.parametrize(
    ("type_name", "one_value"),
    [
        ("PHANDLE", True),
        ("PVOID *", True),
        ("void **", True),
        ("PULONG", True),
        ("ULONG *", True),
        ("PVOID", False),
        ("VOID *", False),
        ("PUCHAR", False),
        ("PIO_STATUS_BLOCK", False),
        ("GUID *", False),
        ("ULONG", False),
    ],
)
def test_pointers_to_one_value(type_name: str, one_value: bool) -> None:
    assert points_to_one_value(type_name) is one_value


def test_every_routine_reads() -> None:
    known = routines.names()
    assert len(known) > 2168
    for name in known:
        routine = lookup(name)
        assert routine.returns or not routine.typed
        for parameter in routine.parameters:
            assert parameter.name
            assert parameter.direction in ("in", "out", "inout")
            assert bool(parameter.type) is routine.typed
        assert str(routine.irql)


def test_macros_have_real_prototypes() -> None:
    assert lookup("KeRaiseIrql").prototype == "VOID KeRaiseIrql(KIRQL NewIrql, PKIRQL OldIrql)"
    assert lookup("KeRaiseIrql").macro_over == "KfRaiseIrql"
    assert lookup("RtlStringCbPrintfA").prototype.endswith("NTSTRSAFE_PCSTR pszFormat, ...)")
    assert sum(not lookup(name).typed for name in routines.names()) < 60


def test_verifier_rules_have_the_sub_code_that_windows_reports() -> None:
    rules = routines.verifier_rules()
    assert rules["IrqlKeApcLte1"] == 0x2000F
    assert rules["AddDevice"] is None
    assert "IrqlKeApcLte1" in lookup("KeDelayExecutionThread").rules


def test_near_names_are_found_whatever_their_case() -> None:
    assert routines.closest("keraiseirql") == ["KeRaiseIrql"]
    assert "KeSetEvent" in routines.closest("KeSetEvnt")
    assert routines.closest("Zork") == []


def test_an_unknown_name_is_a_key_error() -> None:
    with pytest.raises(KeyError):
        lookup("KeFrobnicate")
