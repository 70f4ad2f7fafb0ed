"""Cm: the registry, as keys and values in memory that last as long as the machine.

In come paths and handles; out go values. The boot content is what drivers and the kernel look for.
Windows Internals 7, part 2, chapter 10, "The registry".
"""
