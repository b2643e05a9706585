"""An engine whose trials follow learning curves in virtual time: nothing is trained."""
