"""The load generator: a process of its own, so that what it costs is not charged to a server.

It is driven by JSON lines on stdin (`bench.load`), keeps its agents connected between two orders, and is the same for
both servers. Its client is made for load: callbacks on a transport, no task for each connection.
"""
