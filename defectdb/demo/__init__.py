"""A tight-binding model of h-BN to a small data set: real quantum mechanics of a model, not DFT."""
