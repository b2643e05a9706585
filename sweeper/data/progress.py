"""How far work has come that takes long: what whoever waits for it gets to know."""

from __future__ import annotations

from collections.abc import Callable

Progress = Callable[[int, int], None]
"""Takes how much of some work is done, and how much there is."""

Tell = Callable[[str, int, int], None]
"""Takes the same after the words for a step of some work, such as `decoding images`.

Where nobody knows how much there is, that is 0 until the step has ended.
"""
