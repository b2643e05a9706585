"""Measurements of sweeper beside the ceiling of the hardware and beside what people write today."""
