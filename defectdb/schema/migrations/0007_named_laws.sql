-- The name of the law that a formula is, and its left-out error without the end points.
ALTER TABLE formulas ADD COLUMN law VARCHAR;
ALTER TABLE formulas ADD COLUMN mae_cv_interior DOUBLE;
