"""A second search for formulas: sparse networks of mathematical units, found by tree search with least squares.

Needs numpy alone, so that it runs where torch is not wanted.
"""
