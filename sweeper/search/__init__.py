"""Which trial comes next and which ends early; alone knows Optuna."""
