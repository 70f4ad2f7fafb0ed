"""Cc: the cache manager, for file systems.

A file's data lies in frames of the system cache. Views of 256 KiB map them; data comes from the
file system's driver by paging reads and goes back by paging writes, at once when a caller flushes,
else by the lazy writer. In come the Cc routines and faults on pages of a view that are not there;
out go IRP_MJ_READ and IRP_MJ_WRITE with IRP_PAGING_IO, and the callbacks around a lazy write.
Nothing is read ahead, and a page stays until it is purged or its file's last cache map goes.
Source: Windows Internals 7, part 2, chapter 11; ntifs.h; ReactOS kmtests ntos_cc.
"""
