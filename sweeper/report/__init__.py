"""A finished study, and the difference of two models, as pages and tables that people read."""
