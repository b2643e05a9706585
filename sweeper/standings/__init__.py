"""Which trials are best, and how sure that is."""
