triple_sums AS (
    SELECT
        p.structure_key, s.model_id, sum(coalesce($kernels, CAST('NaN' AS DOUBLE))) AS total,
        bool_or(
            t.r_min IS NOT NULL
            AND p.r12 + p.r13 + p.r23 - least(p.r12, p.r13, p.r23) - greatest(p.r12, p.r13, p.r23)
                < coalesce(t.cutoff, CAST('inf' AS DOUBLE))
            AND (least(p.r12, p.r13, p.r23) < t.r_min OR greatest(p.r12, p.r13, p.r23) > t.r_max)
        ) AS outside
    FROM scope AS s
    JOIN triples AS p USING (structure_key)
    JOIN terms AS t ON t.n = 3 AND t.model_id = s.model_id AND t.label = p.label
    GROUP BY p.structure_key, s.model_id
),
