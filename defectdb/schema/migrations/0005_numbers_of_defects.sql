-- A material may have a model of few and another of many defects: each predicts the numbers of defects it was learned from.
ALTER TABLE models ADD COLUMN n_defects_min INTEGER DEFAULT 1;
ALTER TABLE models ADD COLUMN n_defects_max INTEGER DEFAULT 1000000;
