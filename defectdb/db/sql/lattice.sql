lattice AS (
    SELECT t.model_id, x.pair_id, sum($kernels) AS value
    FROM distances AS x
    JOIN terms AS t ON t.n = 2 AND t.images = 'sum' AND t.label = x.label AND x.dz >= t.dz_min AND x.dz < t.dz_max
    GROUP BY t.model_id, x.pair_id
),
-- what a defect's own periodic images add to its energy: half the sum of its pair with itself
self_images AS (
    SELECT t.model_id, x.host_id, x.dataset_id, split_part(t.label, '-', 1) AS label, sum($self_kernels) / 2 AS value
    FROM (
        SELECT h.host_id, d.dataset_id, d.cutoff,
            sqrt(pow(o.image_a * h.a_x + o.image_b * h.b_x, 2) + pow(o.image_a * h.a_y + o.image_b * h.b_y, 2)) AS r
        FROM (SELECT DISTINCT host_id, dataset_id FROM structures) AS s
        JOIN hosts AS h USING (host_id)
        JOIN datasets AS d USING (dataset_id)
        CROSS JOIN image_offsets AS o
        WHERE o.image_a <> 0 OR o.image_b <> 0
    ) AS x
    JOIN terms AS t ON t.n = 2 AND t.images = 'sum' AND t.dz_min <= 0
        AND split_part(t.label, '-', 1) = split_part(t.label, '-', 2)
    WHERE x.r <= x.cutoff
    GROUP BY ALL
),
