"""Where trials run: warm worker processes that get a trial and stream its epochs."""
