triple_sums AS (
    SELECT
        s.structure_id, s.model_id, sum($kernels) AS total,
        bool_and(coalesce(isfinite($kernels), FALSE)) AS defined,
        bool_or(
            t.r_min IS NOT NULL
            AND (least(p.r12, p.r13, p.r23) < t.r_min OR greatest(p.r12, p.r13, p.r23) > t.r_max)
        ) AS outside
    FROM scope AS s
    JOIN triples AS p USING (structure_id)
    JOIN terms AS t ON t.n = 3 AND t.model_id = s.model_id AND t.label = p.label
    GROUP BY s.structure_id, s.model_id
),
