"""The stored structures as an OPTIMADE 1.2 service, for reading alone."""
