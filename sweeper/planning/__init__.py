"""What a search space would do here: each of its branches is tried for a moment, time and disk are foretold."""
