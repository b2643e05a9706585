"""The best trials trained again: repetitions, the test split, reproduction."""
