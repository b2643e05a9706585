"""Networks: timm's backbones and the user's own, a head on top, and what of them may learn."""
