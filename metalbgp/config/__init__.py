"""The shapes of metallb.io and metalbgp.io objects, read, checked and compiled to values of model/.

The only room that knows how these objects look in JSON. Pure: no clock, no I/O, no Kubernetes client.

objects.py      what users wrote, as it stands in their objects
ranges.py, communities.py, selectors.py, durations.py    one syntax each
pools.py, peers.py, advertisements.py, bfd.py,
policies.py, reservations.py    one kind each: object → value or the reasons against it
compile.py      all of them together: last good per object, conflicts, what is not in force yet
compiled.py, virtualip.py, nodestate.py    our own kinds, there and back
services.py     the annotations of a Service
documents.py, schema.py, surprises.py    files: lines of YAML, fields that the CRD lacks, what is not meant
"""
