"""Rows of interatomic potentials and of the configurations that they are learned from."""
