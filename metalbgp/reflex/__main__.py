"""python -m metalbgp.reflex: a realtime class first, so that the imports profit as well.

On a busy machine they take 40 ms instead of 330.
"""

from metalbgp.reflex import realtime

if __name__ == "__main__":
    granted = realtime.take()
    from metalbgp.reflex.process import main

    main(granted)
