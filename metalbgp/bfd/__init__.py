"""BFD with routers: is the way to them alive? RFC 5880, asynchronous mode, over UDP (RFC 5881, 5883).

Bytes in wire.py, decisions in machine.py, sockets in edge.py. docs/bfd.md is what people read.
"""
