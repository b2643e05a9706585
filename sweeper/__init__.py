"""An experiment sweep orchestrator for image classifiers."""

__version__ = "0.1.0"
