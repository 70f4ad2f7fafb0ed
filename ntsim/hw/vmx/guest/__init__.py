"""Guest code on the engine.

In: a `VmxState` in non-root operation, whose processor holds the guest's state. Out: a `GuestExit`
with the host's state loaded, or None when the quantum is over. `run.py` is the loop; every other
file is one family of instructions or events and decides, by the controls in the VMCS, whether a
stop of the engine is a VM exit or is executed as the processor would in VMX non-root operation.
"""
