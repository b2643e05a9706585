"""Which configuration is tried next and which trial ends early; the only package that knows Optuna."""
