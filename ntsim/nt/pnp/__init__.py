"""Pnp: device nodes, the root bus, and the IRPs that bring devices up and down.

A device node (DEVICE_NODE, in RAM) stands for each PDO that a bus driver reported. Everything runs
in a system thread at PASSIVE_LEVEL under one lock; drivers ask for work with IoInvalidateDevice*.
Nothing here exists until a device is plugged in or a driver asks. Read Windows Internals 7, part 1,
chapter 6, "The Plug and Play manager"; WDK "Adding a PnP Device to a Running System".
"""
