"""The exported faces: parameters as in the prototypes; wrong calls are the driver's fault."""

from collections.abc import Iterator
from contextlib import suppress

import pytest

import ntsim.machine  # noqa: F401  (the kernel's rooms)
from ntsim.abi import routines
from ntsim.abi.types import REGISTRY, Scalar
from ntsim.errors import BugCheck, Error
from ntsim.host.current import CallerError
from ntsim.host.faces import faces
from ntsim.nt.exports import EXPORTS, load_rooms
from ntsim.nt.rtl.exception import PYTHON_ERROR, StructuredException

load_rooms()

SAME_ROUTINE_OTHER_NAME = {"KeWaitForMutexObject": {"Mutex": "Object"}}
"""Macros over another routine, whose parameter has another name there."""

RETURNS_DIFFER = {"KdPrint", "KdPrintEx"}
"""VOID macros over DbgPrint and DbgPrintEx."""

DOCUMENTED = sorted(set(EXPORTS) & set(routines.names()))


def documented(name: str) -> list[routines.Parameter]:
    return [each for each in routines.lookup(name).parameters if each.name != "..."]


def differences(name: str) -> Iterator[str]:
    """Where the export's registration and the routine's prototype disagree."""
    known, export = routines.lookup(name), EXPORTS[name]
    renamed = SAME_ROUTINE_OTHER_NAME.get(name, {})
    names = [renamed.get(each.name, each.name) for each in documented(name)]
    have = [parameter for parameter, _ in export.parameters]
    if not known.typed:
        if len(names) != len(have):
            yield f"{name} takes {len(names)} arguments, not {len(have)}"
        return
    if have != names:
        yield f"{name}({', '.join(names)}), not ({', '.join(have)})"
    outs = [each.name for each in documented(name) if each.returned]
    if [export.parameters[index][0] for index in export.outs] != outs:
        yield f"{name} returns {outs}"
    void = export.returns in ("None", "VOID")
    if name not in RETURNS_DIFFER and (known.returns.upper() == "VOID") != void:
        yield f"{name} is {known.returns}, not {export.returns}"
    for parameter, (_, kind) in zip(documented(name), export.parameters, strict=False):
        want, have_type = REGISTRY.get(parameter.type), REGISTRY.get(kind)
        if not (isinstance(want, Scalar) and isinstance(have_type, Scalar)):
            continue
        if (want.size, want.signed) != (have_type.size, have_type.signed):
            yield f"{name}: {parameter.name} is {want}, not {have_type}"


def test_every_export_agrees_with_its_prototype() -> None:
    assert [text for name in DOCUMENTED for text in differences(name)] == []


def test_most_exports_have_a_documented_prototype() -> None:
    assert len(DOCUMENTED) > 300


# Wrong calls

ROOMS = sorted({export.function.__module__ for export in EXPORTS.values()})
ARGUMENTS = (0, 0xFFFF_F980_1234_5678, "text", lambda *arguments: 0)


def wrong_calls(module: str) -> list[tuple[str, tuple]]:
    """(routine, arguments) for every routine that a module of the kernel exports."""
    made: list[tuple[str, tuple]] = []
    for name in sorted({e.name for e in EXPORTS.values() if e.function.__module__ == module}):
        count = len(EXPORTS[name].parameters)
        made += [(name, (value,) * count) for value in ARGUMENTS]
        made += [(name, (0,) * max(count - 1, 0)), (name, (0,) * (count + 7))]
    return made


@pytest.mark.parametrize("module", ROOMS)
def test_whatever_a_driver_passes_ntsim_itself_does_not_fail(ntsim_machine, module: str) -> None:
    """A status, a bug check, a hang, or the driver's own error; never an assertion."""
    calls = wrong_calls(module)

    def DriverEntry(DriverObject, RegistryPath) -> int:
        while calls:
            name, arguments = calls.pop()
            try:
                faces()[name](*arguments)
            except (StructuredException, CallerError):
                continue
        return 0

    while calls:
        with suppress(Error):
            ntsim_machine(processors=1, record=False).load_driver(DriverEntry, name="drv.sys")


def test_the_error_of_a_wrong_count_shows_both_forms(value_of) -> None:
    def body() -> list[str]:
        unclear = []
        for name in sorted(n for n in EXPORTS if EXPORTS[n].outs):
            full = ", ".join(parameter for parameter, _ in EXPORTS[name].parameters)
            try:
                faces()[name](*range(40))
            except TypeError as error:
                if f"{name}({full})" in str(error) and "40 arguments were given" in str(error):
                    continue
            unclear.append(name)
        return unclear

    assert value_of(body) == []


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda f: f["KeSetEvent"](1), "KeSetEvent"),
        (lambda f: f["KeSetEvent"](1, 2, 3, 4), "KeSetEvent"),
        (lambda f: f["KeSetEvent"]("x", 0, 0), "Event of KeSetEvent is a pointer"),
        (lambda f: f["KeSetEvent"](0.5, 0, 0), "Event of KeSetEvent is a pointer"),
        (lambda f: f["KeLowerIrql"]("2"), "NewIrql of KeLowerIrql is an integer"),
        (lambda f: f["KeSetEvent"](0, "1", 0), "Increment of KeSetEvent is an integer"),
        (lambda f: f["ExFreePool"](b"x"), "P of ExFreePool is an address"),
        (lambda f: f["IoDeleteSymbolicLink"]("\\??\\X"), "pass UNICODE_STRING("),
        (lambda f: f["DbgPrint"](), "DbgPrint takes at least"),
        (lambda f: f["KeSetTimer"](0, "soon", 0), "DueTime of KeSetTimer is a LARGE_INTEGER"),
    ],
)
def test_a_wrong_argument_is_named_and_ends_in_the_python_errors_bug_check(
    ntsim_machine, call, text: str
) -> None:
    machine = ntsim_machine(processors=1)
    with pytest.raises(BugCheck) as caught:
        machine.load_driver(lambda d, r: call(faces()), name="drv.sys")
    assert (caught.value.code, caught.value.parameters[0]) == (0x7E, PYTHON_ERROR)
    fault = machine.nt.bugcheck_state.fault
    assert fault.reason.startswith("TypeError: ") or fault.reason.startswith("CallerError: ")
    assert text in fault.reason
    assert fault.error.__traceback__ is not None
