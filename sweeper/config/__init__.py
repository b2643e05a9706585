"""What a user may configure, and how a search-space file becomes a `SweepConfig`."""
