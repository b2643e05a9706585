"""From a trial's folder to its MLflow run, exactly once; alone knows MLflow."""
