"""One trainer for every network; knows nothing of Optuna, MLflow or processes."""
