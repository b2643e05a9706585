"""How good predictions are: metrics, confusion matrices, and comparisons of two models."""
