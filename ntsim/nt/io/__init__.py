"""Io: drivers, devices, files, and the life of an IRP. Windows Internals 7, part 1, chapter 6.

In come system calls on file handles; out go IRPs through device stacks and their completion.
"""
