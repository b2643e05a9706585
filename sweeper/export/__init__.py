"""Models made ready for use elsewhere: written, checked and loaded."""
