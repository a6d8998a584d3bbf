"""The speaker: a parent that owns ExaBGP, and an agent that tells it what this node shall announce."""
