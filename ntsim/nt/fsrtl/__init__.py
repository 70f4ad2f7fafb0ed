"""FsRtl: what file systems share.

Names and wildcards, and the map of a file's clusters. In come names and MCBs of drivers; nothing
goes out. Oplocks, byte-range locks, tunnelling and the fast-I/O helpers are not modelled. Source:
WDK FsRtl routines (ntifs.h); ReactOS kmtests ntos_fsrtl.
"""
