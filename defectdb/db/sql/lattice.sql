lattice AS (
    SELECT t.model_id, x.pair_id, sum($kernels) AS value
    FROM distances AS x
    JOIN terms AS t ON t.n = 2 AND t.images = 'sum' AND t.label = x.label AND x.dz >= t.dz_min AND x.dz < t.dz_max
    GROUP BY t.model_id, x.pair_id
),
