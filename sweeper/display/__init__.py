"""What users see in a terminal: tables, and a sweep while it runs."""
