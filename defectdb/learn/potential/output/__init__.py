"""What a finished potential is used for: an ASE calculator, properties of its crystal, files for other programs."""
