"""The Kubernetes edge of controller and speaker: the one client, watches, election, events, decoding.

aiohttp and msgspec alone; the official client is never imported here (it costs 55 MiB and its watch loses
events). access.py finds server and credentials, client.py makes requests, reflector.py keeps a view of one
resource, election.py guards writes, events.py tells users, decode.py turns JSON into model values.
"""
