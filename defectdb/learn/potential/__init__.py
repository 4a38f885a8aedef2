"""Interatomic potentials of one element: a pair term and an embedded density, as formulas."""
