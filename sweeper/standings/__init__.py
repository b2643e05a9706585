"""Which trials of a study are best, and how sure that is."""
