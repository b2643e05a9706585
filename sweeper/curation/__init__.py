"""A data set before its study: split, checked, cleaned. Deletes nothing."""
