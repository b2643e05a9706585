"""A study while it runs: driver, card, preparation, continuation."""
