"""Trials on the nodes of a Ray cluster.

`engine.py` keeps the slots that there is room for, and `places.py` says on which node, or over which nodes, that is;
`demand.py` how many more a run wants, and which it can do without.
`slot.py` is the driver's end of one slot, a thread; `remote.py` is its other end, a Ray actor that has a worker of
`engines/local.py` beside it. Where a trial's devices are on several nodes, `other_part.py` and `remote_ranks.py` are
the two ends of each further one. `messages.py` says what passes between them, `carrier.py` and `folders.py` bring
files along.
"""
