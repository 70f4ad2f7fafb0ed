"""Registry values of a run: in place before the first driver is loaded."""

from ntsim.lab.target import RegistryValues
from ntsim.machine import Machine
from ntsim.nt.kd.filter import FILTER_KEY


def apply(machine: Machine, values: RegistryValues) -> None:
    """Write the values, or remove those that are None, and let the kernel read what it reads at
    boot: the debug print filter."""
    registry = machine.nt.cm
    for (path, name), content in values.items():
        if content is not None:
            registry.set(path, name, content)
        elif (key := registry.find(path)) is not None:
            key.values.pop(name.lower(), None)
    if any(path == FILTER_KEY for path, _ in values):
        machine.nt.kd.masks.load(machine.nt)
