"""An experiment sweep orchestrator for image classifiers."""

__version__ = "0.2.0"
