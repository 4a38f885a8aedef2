-- Errors of the networks in use and of the formulas on the same structures, one row for every structure and target.
WITH newest AS (
    SELECT p.structure_id, p.target, p.value, p.trained, n.learned_on
    FROM network_predictions AS p
    JOIN networks AS n USING (network_id)
    WHERE n.status = 'active'
    QUALIFY row_number() OVER (PARTITION BY p.structure_id, p.target, n.learned_on ORDER BY p.network_id DESC) = 1
),
networked AS (
    SELECT
        structure_id, target, bool_or(trained) AS trained,
        max(value) FILTER (learned_on = 'values') AS network,
        max(value) FILTER (learned_on = 'residuals') AS both
    FROM newest
    GROUP BY structure_id, target
)
SELECT
    s.structure_id, s.structure_key, x.target, t.unit, x.trained,
    x.network - t.value AS network, f.value - t.value AS formulas, x.both - t.value AS both,
    h.material_id AS material, s.dataset_id AS dataset, s.descriptor, CAST(s.n_defects AS VARCHAR) AS n_defects
FROM networked AS x
JOIN target_values AS t USING (structure_id, target)
JOIN structures AS s USING (structure_id)
JOIN hosts AS h USING (host_id)
LEFT JOIN predictions AS f ON f.structure_id = x.structure_id AND f.target = x.target
