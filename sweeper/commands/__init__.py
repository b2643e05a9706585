"""What users type: a file for each command, and what commands share."""
