"""What the command line shows: tables, and a sweep while it runs."""
