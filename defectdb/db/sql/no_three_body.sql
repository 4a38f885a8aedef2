triple_sums AS (
    SELECT
        CAST(NULL AS INTEGER) AS structure_key, CAST(NULL AS BIGINT) AS model_id, CAST(0 AS DOUBLE) AS total,
        FALSE AS outside
    WHERE FALSE
),
