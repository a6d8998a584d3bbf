"""Measures any LoadBalancer implementation from outside: Service to address to wire to route, CPU and memory.

python -m bench --help; docs/figures.md says what the figures mean.
place.py   what is needed of a cluster       api.py     its API server, with a thread a connection
load.py    the objects that are made         watch.py   when a Service has its address
wire.py    when an UPDATE is on the wire     routes.py  when a route is in the router's kernel
cost.py    CPU seconds and memory            noise.py   how fast the machine was meanwhile
phases.py  the measurements themselves       table.py   figures, baselines and ratios
allocation.py   the one thing measured from inside: the function that chooses addresses
bgp.py     one speaker and real routers without a lab: changes.py, bounce.py, inbound.py, on chain.py; aims.py
           prints figures beside their aims, processes.py has the kernel's books of one process
l2.py      who answers for an address when nodes and links fail, and for how long nobody does
fleet.py   1,000 BGPPeers at once             statuses.py  what 500 nodes write, simulated (virtual.py)
metallb.py builds MetalLB and puts it on a lab, for a comparison in the same run
"""
