triple_sums AS (
    SELECT
        CAST(NULL AS VARCHAR) AS structure_id, CAST(NULL AS BIGINT) AS model_id, CAST(0 AS DOUBLE) AS total,
        TRUE AS defined, FALSE AS outside
    WHERE FALSE
),
