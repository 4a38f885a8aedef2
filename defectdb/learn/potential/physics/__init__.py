"""What a potential is and computes: configurations, neighbours, energies, forces, stresses, what makes it unsafe."""
