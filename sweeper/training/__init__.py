"""One trainer for every backbone and every trial; knows nothing of Optuna, MLflow or processes."""
