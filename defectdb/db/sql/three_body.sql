    UNION ALL
    SELECT
        s.structure_id, s.model_id, s.target, s.aggregator, s.n_defects, 3 AS n,
        p.label, FALSE AS unknown, $kernels AS value,
        t.r_min IS NOT NULL AND (least(p.r12, p.r13, p.r23) < t.r_min OR greatest(p.r12, p.r13, p.r23) > t.r_max)
            AS outside
    FROM scope AS s
    JOIN triples AS p USING (structure_id)
    JOIN terms AS t ON t.n = 3 AND t.model_id = s.model_id AND t.label = p.label
