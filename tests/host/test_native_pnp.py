"""A compiled function driver (driver/c/pnp.c) over the simulated bus."""

from pathlib import Path

PNP = Path(__file__).parents[2] / "driver/c/pnp.sys"
LINK = "\\??\\ROOT#COMPILED#0000#{6b1f6d2e-5a5c-4a7e-9d0c-3f0a61c0be12}"


def test_a_compiled_function_driver_lives_through_everything(ntsim_machine) -> None:
    machine = ntsim_machine(processors=2)
    driver = machine.load_driver(PNP)
    device = machine.plug("ROOT\\COMPILED", driver, interrupts=(4,))
    assert device.state == "Started"
    device.interrupt()
    machine.run_until_idle()
    assert machine.sleep("S3") == 0
    machine.wake()
    assert device.remove() == 0
    assert driver.unloaded
    assert machine.debug_output == [
        f"pnp: {LINK}",
        "pnp: interrupt 1",
        "pnp: from 0 to 4",
        "pnp: 2 done, D3, status 0",
        "pnp: from 4 to 1",
        "pnp: 2 done, D0, status 0",
        "pnp: unload",
    ]
    assert machine.findings == ()
