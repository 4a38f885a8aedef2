-- A kernel is nothing beyond its cutoff: a pair at that distance or farther, a triangle of which two edges reach it.
-- A formula of order 0, "composition", says how a structure's value depends on how many defects of which kind it has.
ALTER TABLE formulas ADD COLUMN cutoff DOUBLE;
