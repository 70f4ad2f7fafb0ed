"""FsRtl: what file systems share.

Names and wildcards, legal characters, the map of a file's clusters, the tunnel cache. In come
names, MCBs and tunnels of drivers; nothing goes out. Oplocks, byte-range locks and the fast-I/O
helpers are not modelled. Source: WDK FsRtl routines (ntifs.h); ReactOS kmtests ntos_fsrtl.
"""
