"""User mode: processes, the modules mapped into them, the Win32 calls that apps make.

In come apps (a file or a callable); out go system calls, through functions named as in kernel32,
KERNELBASE and ntdll so that a stack crosses from the app to the driver as on Windows. What a
system call reads and writes are real bytes in the process's own address space. Windows Internals 7,
part 1, chapters 2 and 3.
"""
