"""Looking after data sets before a study: splitting, checking, finding what does not belong. Deletes nothing."""
