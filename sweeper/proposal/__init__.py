"""A first search space for images: they are looked at, networks are timed, and every choice gives its reason."""
