"""The commands that are not about running a sweep, and what all commands share."""
