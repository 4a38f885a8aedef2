"""Stored formulas, models, their fronts, intervals and networks: read and written."""
