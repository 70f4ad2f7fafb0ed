"""Run a function as an app, beside a driver if there is one."""

from collections.abc import Callable
from typing import Any

import pytest


@pytest.fixture
def run_app(ntsim_machine: Callable[..., Any]) -> Callable[..., Any]:
    """`run_app(app, DriverEntry=None)`: what the app returned; it must end well."""

    def run(app: Callable[[], Any], driver: Callable[..., int] | None = None) -> Any:
        machine, results = ntsim_machine(processors=1), []
        if driver is not None:
            machine.load_driver(driver, name="drv.sys")
        process = machine.run(lambda: results.append(app()), name="app.exe")
        assert (process.exit_code, process.stderr) == (0, "")
        return results[0]

    return run
