"""How good predictions are: metrics, confusion matrices, comparisons."""
