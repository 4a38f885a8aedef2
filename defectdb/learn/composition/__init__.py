"""Learn gaps and levels of dense structures as laws of their composition."""
