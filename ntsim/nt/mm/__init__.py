"""Mm: physical frames, system and user address space, page faults, contiguous memory, MDLs.

In come requests for address space and the faults of code that touched it; out go page-table
entries and frames. Windows Internals 7, part 1, chapter 5.
"""
