"""Running a study, and reading it afterwards."""
