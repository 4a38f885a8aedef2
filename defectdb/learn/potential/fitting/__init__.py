"""Errors of potentials on configurations and their least squares: formulas, splines, fixed forms, quadratic form."""
