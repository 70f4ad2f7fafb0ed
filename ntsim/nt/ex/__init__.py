"""Ex: the executive's pools, work queues and handle tables. Windows Internals 7, part 1, chapter 5,
"Kernel-mode heaps", and part 2, chapter 8, "System worker threads".
"""
