"""Configurations with energies and forces: read, check and store them for interatomic potentials."""
