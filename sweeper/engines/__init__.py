"""Where trials run: warm workers that get a trial and stream its epochs."""
