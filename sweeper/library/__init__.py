"""Sweeper as a library: studies, trials and exports as objects, for programs and notebooks."""
