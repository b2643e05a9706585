"""From a trial's folder on disk to its MLflow run, in the background and exactly once."""
