"""host: how driver code runs. Python drivers as private modules, faces of the kernel's exports,
intrinsics, saved stacks.

In come addresses to call and files to load; out go calls of the kernel's exports. The kernel sees
this room only through its `Host` protocol.
"""
