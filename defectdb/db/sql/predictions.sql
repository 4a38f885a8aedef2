-- Predictions of the chosen models. 'sum' (energies): one-defect terms, pair kernels and three-body terms are added.
-- 'min', 'max' (levels and gaps): the smallest or largest pair decides. 'shift_min', 'shift_max': the smallest or
-- largest one-defect value, moved by what every pair with that value moves it (kernel less the value).
WITH chosen AS (
    SELECT model_id, material_id, target, aggregator FROM models WHERE $choice
),
scope AS NOT MATERIALIZED (
    SELECT s.structure_id, s.n_defects, c.model_id, c.target, c.aggregator
    FROM structures AS s
    JOIN hosts AS h USING (host_id)
    JOIN chosen AS c USING (material_id)
    WHERE s.n_defects > 0
),
terms AS (
    SELECT
        t.model_id, t."order" AS n, t.label, t.formula_id, t.value,
        coalesce(f.dz_min, 0) AS dz_min, coalesce(f.dz_max, $every_dz) AS dz_max, f.r_min, f.r_max, f.images,
        CASE
            WHEN t."order" <> 2 OR NOT starts_with(c.aggregator, 'shift') THEN 0
            ELSE (
                SELECT CASE c.aggregator WHEN 'shift_min' THEN min(o.value) ELSE max(o.value) END
                FROM model_terms AS o
                WHERE o.model_id = t.model_id AND o."order" = 1
                    AND list_contains(string_split(t.label, '-'), o.label)
            )
        END AS base
    FROM chosen AS c
    JOIN model_terms AS t USING (model_id)
    LEFT JOIN formulas AS f USING (formula_id)
),
offsets AS (
    SELECT model_id, sum(value) AS value FROM terms WHERE n = 0 GROUP BY model_id
),
deciders AS (
    SELECT
        s.structure_id, s.model_id,
        CASE s.aggregator WHEN 'shift_min' THEN min(t.value) ELSE max(t.value) END AS value
    FROM scope AS s
    JOIN defects AS d USING (structure_id)
    JOIN terms AS t ON t.n = 1 AND t.model_id = s.model_id AND t.label = d.label
    WHERE starts_with(s.aggregator, 'shift')
    GROUP BY s.structure_id, s.model_id, s.aggregator
),
$lattice
singles AS (
    SELECT
        s.structure_id, s.model_id, sum(t.value) AS total, min(t.value) AS least, max(t.value) AS most,
        list(d.label) FILTER (t.model_id IS NULL) AS missing
    FROM scope AS s
    JOIN defects AS d USING (structure_id)
    LEFT JOIN terms AS t ON t.n = 1 AND t.model_id = s.model_id AND t.label = d.label
    WHERE s.aggregator NOT IN ('min', 'max') OR s.n_defects = 1
    GROUP BY s.structure_id, s.model_id
),
valued_pairs AS (
    SELECT
        s.structure_id, s.model_id, p.label, t.model_id IS NULL AS unknown,
        CASE WHEN t.base <> e.value THEN 0 ELSE $pair_kernels - t.base END AS value,
        t.r_min IS NOT NULL AND p.distance NOT BETWEEN t.r_min AND t.r_max AS outside
    FROM scope AS s
    JOIN pairs AS p USING (structure_id)
    LEFT JOIN terms AS t
        ON t.n = 2 AND t.model_id = s.model_id AND t.label = p.label AND p.dz >= t.dz_min AND p.dz < t.dz_max
    LEFT JOIN deciders AS e ON e.structure_id = s.structure_id AND e.model_id = s.model_id
    $lattice_join
),
paired AS (
    SELECT
        structure_id, model_id, sum(value) AS total, min(value) AS least, max(value) AS most,
        bool_and(coalesce(isfinite(value), FALSE)) AS defined, bool_or(outside) AS outside,
        list(label) FILTER (unknown) AS missing
    FROM valued_pairs
    GROUP BY structure_id, model_id
),
$three_body
totals AS (
    SELECT
        s.structure_id, s.model_id, s.target, s.aggregator, s.n_defects,
        a.total AS single_sum, a.least AS single_min, a.most AS single_max, p.total AS pair_sum, p.least AS pair_min,
        p.most AS pair_max, coalesce(w.total, 0) AS three_body,
        coalesce(p.defined, TRUE) AND coalesce(w.defined, TRUE) AND a.missing IS NULL AS defined,
        coalesce(p.outside, FALSE) OR coalesce(w.outside, FALSE) AS extrapolated,
        list_concat(coalesce(a.missing, CAST([] AS VARCHAR[])), coalesce(p.missing, CAST([] AS VARCHAR[]))) AS missing
    FROM scope AS s
    LEFT JOIN singles AS a USING (structure_id, model_id)
    LEFT JOIN paired AS p USING (structure_id, model_id)
    LEFT JOIN triple_sums AS w USING (structure_id, model_id)
),
outputs (target, output, unit, per_site) AS (VALUES $outputs)
SELECT
    t.structure_id,
    o.output AS target,
    CASE
        WHEN NOT t.defined THEN NULL
        WHEN t.aggregator = 'sum'
            THEN t.single_sum + coalesce(t.pair_sum, 0) + t.three_body + (t.n_defects - 1) * coalesce(d.value, 0)
        WHEN t.aggregator = 'shift_min' THEN t.single_min + coalesce(t.pair_sum, 0) + t.three_body
        WHEN t.aggregator = 'shift_max' THEN t.single_max + coalesce(t.pair_sum, 0) + t.three_body
        WHEN t.n_defects = 1 THEN t.single_sum
        WHEN t.aggregator = 'min' THEN t.pair_min + t.three_body
        ELSE t.pair_max + t.three_body
    END / CASE WHEN o.per_site THEN t.n_defects ELSE 1 END AS value,
    o.unit,
    t.model_id,
    t.n_defects,
    t.extrapolated,
    list_sort(list_distinct(t.missing)) AS missing
FROM totals AS t
JOIN outputs AS o ON o.target = t.target
LEFT JOIN offsets AS d ON d.model_id = t.model_id
