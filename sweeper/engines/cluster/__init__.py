"""Trials on the nodes of a Ray cluster.

`engine.py` decides how many slots there are on which node. `slot.py` is the driver's end of one slot, a thread;
`remote.py` is its other end, a Ray actor that has a worker of `engines/local.py` beside it. `messages.py` says what
passes between them, `carrier.py` and `folders.py` bring files along.
"""
