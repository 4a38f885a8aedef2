"""Timings of the parts that have to be fast; `make bench` runs them all."""
