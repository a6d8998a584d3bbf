"""Answers for addresses on the local segment: ARP and NDP.

Bytes in wire.py, decisions in machine.py, sockets in edge.py.
"""
