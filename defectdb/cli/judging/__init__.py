"""The commands that say how good formulas and models are."""
