"""Trials that differ only in numbers, trained together as one stack of heads."""
