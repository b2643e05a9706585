"""What users read in a browser: a study, or the difference of two models, as one page."""
