-- The name of the law that a formula is, and its left-out error without the end points.
ALTER TABLE formulas ADD COLUMN law VARCHAR;
ALTER TABLE formulas ADD COLUMN mae_cv_interior DOUBLE;

-- Half-widths that hold 90 % of a model's errors, by composition (defect_labels of the structures), by number of defects
-- (composition NULL), and for every defect of any other structure (n_defects NULL too).
CREATE TABLE prediction_intervals (
    model_id BIGINT NOT NULL,
    n_defects INTEGER,
    composition VARCHAR,
    half_width DOUBLE NOT NULL CHECK (half_width >= 0),
    half_width_outside DOUBLE NOT NULL CHECK (half_width_outside >= 0),
    n_calibration BIGINT NOT NULL
);

-- Predictions of a file's models are compiled anew after this: until then the views are empty, with the new columns.
CREATE OR REPLACE VIEW predictions AS
SELECT
    CAST(NULL AS VARCHAR) AS structure_id, CAST(NULL AS VARCHAR) AS target, CAST(NULL AS DOUBLE) AS value,
    CAST(NULL AS VARCHAR) AS unit, CAST(NULL AS BIGINT) AS model_id, CAST(NULL AS INTEGER) AS n_defects,
    CAST(NULL AS BOOLEAN) AS extrapolated, CAST(NULL AS VARCHAR[]) AS missing, CAST(NULL AS DOUBLE) AS lower_90,
    CAST(NULL AS DOUBLE) AS upper_90
WHERE FALSE;

CREATE OR REPLACE VIEW predictions_latest AS SELECT * FROM predictions;
