"""Compute a small data set with a tight-binding model of h-BN: real quantum mechanics of a model, not DFT."""
