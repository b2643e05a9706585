"""Faults found with other people's data and bug reports: one file a kind, with the right value."""
