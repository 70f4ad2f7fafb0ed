"""Scheduling points in driver files: at entries, in loops, inside augmented assignments."""

import ast

import pytest

from ntsim.errors import Hang
from ntsim.host.points import POINT, SPLIT, insert_points


def transformed(source: str) -> str:
    return ast.unparse(insert_points(ast.parse(source)))


def test_a_function_and_each_loop_iteration_begin_with_a_point() -> None:
    text = transformed("def f():\n    'doc'\n    while x:\n        for y in z:\n            pass\n")
    assert text.count(f"{POINT}()") == 3
    assert text.splitlines()[1].strip().strip("\"'") == "doc"


@pytest.mark.parametrize("target", ["x.f", "x[i]", "x.a.b[c].d"])
def test_an_augmented_assignment_is_split_between_load_and_store(target: str) -> None:
    assert f"{SPLIT}(" in transformed(f"{target} += 1")


def test_a_local_variable_is_not_split() -> None:
    assert SPLIT not in transformed("x += 1")


def test_line_numbers_stay_as_they_are() -> None:
    source = "def f(a):\n\n    while a:\n        a.f |= 4\n    return a\n"
    lines = {
        node.lineno
        for node in ast.walk(insert_points(ast.parse(source)))
        if hasattr(node, "lineno")
    }
    assert lines <= {1, 3, 4, 5}


@pytest.mark.parametrize(
    ("operator", "expected"),
    [
        ("+=", 12),
        ("-=", 8),
        ("*=", 20),
        ("//=", 5),
        ("<<=", 40),
        ("|=", 10),
        ("^=", 8),
        ("**=", 100),
    ],
)
def test_every_operator_gives_what_python_gives(operator: str, expected: int) -> None:
    space = {POINT: lambda: None, SPLIT: lambda value: value, "x": type("X", (), {})(), "d": {}}
    space["x"].f, space["d"][0] = 10, 10
    tree = insert_points(ast.parse(f"x.f {operator} 2\nd[0] {operator} 2"))
    exec(compile(tree, "made", "exec"), space)
    assert (space["x"].f, space["d"][0]) == (expected, expected)


def test_the_index_of_an_augmented_assignment_is_evaluated_once() -> None:
    space = {POINT: lambda: None, SPLIT: lambda value: value, "calls": [], "d": [1, 2, 3]}
    source = "def i():\n    calls.append(1)\n    return 2\nd[i()] += 5"
    exec(compile(insert_points(ast.parse(source)), "made", "exec"), space)
    assert (space["calls"], space["d"]) == ([1], [1, 2, 8])


DRIVER = """
from ntsim.wdm import *

class SHARED(Structure):
    Flag: LONG

def Worker(Context):
    cast(Context, POINTER(SHARED)).Flag = 1

def DriverEntry(DriverObject, RegistryPath):
    shared = SHARED()
    PsCreateSystemThread(0, NULL, NULL, NULL, Worker, shared)
    {wait}
    return STATUS_SUCCESS
"""


@pytest.mark.parametrize("processors", [1, 2])
def test_waiting_in_a_loop_without_calls_does_not_hang_the_host(
    tmp_path, ntsim_machine, processors: int
) -> None:
    path = tmp_path / "waits.py"
    path.write_text(DRIVER.format(wait="while not shared.Flag: pass"))
    ntsim_machine(processors=processors).load_driver(path)


def test_a_driver_that_spins_for_ever_is_a_hang_that_names_the_line(
    tmp_path, ntsim_machine
) -> None:
    path = tmp_path / "spins.py"
    path.write_text(DRIVER.format(wait="while shared.Flag >= 0: pass"))
    machine = ntsim_machine(processors=1)
    with pytest.raises(Hang) as caught:
        machine.load_driver(path)
    assert "no processor has made progress" in caught.value.reason
