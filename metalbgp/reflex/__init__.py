"""The process of the loops that may not wait: ARP and NDP answers, later heartbeats and BFD.

client.py is the agent's side.
"""
