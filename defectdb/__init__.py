"""defectdb: point defects in 2D crystals, one database, readable formulas."""

__version__ = "0.1.0"
