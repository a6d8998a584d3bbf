"""Which address? Pools, what is taken, and a request make an allocation or a refusal with reason. Pure."""
