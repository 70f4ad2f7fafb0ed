"""Winsock Kernel: the registration of its clients.

No network is modelled, so no provider ever registers: a client can register, and what it waits for
does not come. In come WSK client NPIs; nothing goes out. Drivers import these routines from
netio.sys. Source: WDK "Registering a Winsock Kernel Application", wsk.h.
"""
