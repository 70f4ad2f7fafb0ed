"""`import ntsim` stays small and its public names load at first use."""

import subprocess
import sys

import pytest

import ntsim

HEAVY = ("capstone", "click", "pydantic", "rich", "rich_click", "unicorn", "numpy")


def loaded_after(statement: str) -> set[str]:
    """Top-level modules that a fresh interpreter has after the statement."""
    program = f"{statement}; import sys; print(*sorted(sys.modules))"
    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    return {module.partition(".")[0] for module in run.stdout.split()}


def test_importing_ntsim_loads_no_heavy_dependency() -> None:
    assert loaded_after("import ntsim").isdisjoint(HEAVY)


def test_an_error_class_loads_no_heavy_dependency() -> None:
    assert loaded_after("import ntsim; ntsim.BugCheck").isdisjoint(HEAVY)


def test_every_error_of_the_public_surface_is_reachable() -> None:
    from ntsim import errors

    for name in ("BugCheck", "ConfigurationError", "DriverLoadError", "Error", "Hang"):
        assert getattr(ntsim, name) is getattr(errors, name)
        assert name in dir(ntsim)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="Machin"):
        _ = ntsim.Machin  # type: ignore[attr-defined]
