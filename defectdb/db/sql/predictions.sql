-- Predictions of the chosen models. 'sum' (energies): one-defect terms, pair kernels and three-body terms are added.
-- 'min', 'max' (levels and gaps): the smallest or largest pair decides. 'shift_min', 'shift_max': the smallest or
-- largest one-defect value, moved by what every pair with that value moves it (kernel less the value).
WITH chosen AS (
    SELECT model_id, material_id, target, aggregator, n_defects_min, n_defects_max FROM models WHERE $choice
),
scope AS (
    SELECT
        s.structure_key, s.structure_id, s.n_defects, h.n_sites, s.host_id, s.dataset_id, s.defect_labels,
        c.model_id, c.target, c.aggregator
    FROM structures AS s
    JOIN hosts AS h USING (host_id)
    JOIN chosen AS c USING (material_id)
    WHERE s.n_defects > 0 AND s.charge = 0 AND s.n_defects BETWEEN c.n_defects_min AND c.n_defects_max
),
terms AS (
    SELECT
        t.model_id, t."order" AS n, t.label, t.formula_id, t.value,
        coalesce(f.dz_min, 0) AS dz_min, coalesce(f.dz_max, $every_dz) AS dz_max, f.r_min, f.r_max, f.images, f.cutoff,
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
$lattice
-- what structures with the same defects have in common: there are far fewer kinds than structures
kinds AS (
    SELECT DISTINCT model_id, aggregator, defect_labels$kind_columns FROM scope
    WHERE aggregator NOT IN ('min', 'max') OR n_defects = 1
),
kind_defects AS (
    SELECT *, unnest(string_split(defect_labels, '+')) AS label FROM kinds
),
singles AS (
    SELECT
        s.model_id, s.defect_labels$s_kind_columns,
        sum(t.value$self_value) AS total, min(t.value) AS least, max(t.value) AS most,
        CASE s.aggregator WHEN 'shift_min' THEN min(t.value) WHEN 'shift_max' THEN max(t.value) END AS decider,
        list(s.label) FILTER (t.model_id IS NULL) AS missing
    FROM kind_defects AS s
    LEFT JOIN terms AS t ON t.n = 1 AND t.model_id = s.model_id AND t.label = s.label
    $self_join
    GROUP BY s.model_id, s.aggregator, s.defect_labels$s_kind_columns
),
judged AS (
    SELECT s.*, a.total, a.least, a.most, a.decider, a.missing
    FROM scope AS s
    LEFT JOIN singles AS a USING (model_id, defect_labels$kind_columns)
),
valued_pairs AS (
    SELECT
        p.structure_key, s.model_id, p.label, t.model_id IS NULL AS unknown,$whole_kernel
        coalesce(CASE WHEN t.base <> s.decider THEN 0 ELSE $pair_kernels - t.base END, CAST('NaN' AS DOUBLE)) AS value,
        t.r_min IS NOT NULL AND p.distance NOT BETWEEN t.r_min AND t.r_max
            AND p.distance < coalesce(t.cutoff, CAST('inf' AS DOUBLE)) AS outside
    FROM pairs AS p
    JOIN $pair_scope AS s USING (structure_key)
    LEFT JOIN terms AS t
        ON t.n = 2 AND t.model_id = s.model_id AND t.label = p.label AND p.dz >= t.dz_min AND p.dz < t.dz_max
    $lattice_join
),
-- one pair without a finite value leaves the whole sum without one
paired AS (
    SELECT
        structure_key, model_id, sum(value) AS total, $pair_extremes,$whole_extremes
        bool_or(outside) AS outside,
        list(label) FILTER (unknown) AS missing
    FROM valued_pairs
    GROUP BY structure_key, model_id
),
$three_body
totals AS (
    SELECT
        s.structure_id, s.model_id, s.target, s.aggregator, s.n_defects, s.n_sites, s.defect_labels,
        s.total AS single_sum, s.least AS single_min, s.most AS single_max, p.total AS pair_sum, p.least AS pair_min,
        p.most AS pair_max, coalesce(w.total, 0) AS three_body,$all_extremes
        isfinite(coalesce(p.total, 0)) AND isfinite(coalesce(w.total, 0)) AND s.missing IS NULL AS defined,
        coalesce(p.outside, FALSE) OR coalesce(w.outside, FALSE) AS extrapolated,
        list_concat(coalesce(s.missing, CAST([] AS VARCHAR[])), coalesce(p.missing, CAST([] AS VARCHAR[]))) AS missing
    FROM judged AS s
    LEFT JOIN paired AS p USING (structure_key, model_id)
    LEFT JOIN triple_sums AS w USING (structure_key, model_id)
),
-- what all terms give that know distances
based AS (
    SELECT
        t.* EXCLUDE (missing), list_sort(list_distinct(t.missing)) AS missing,
        CASE
            WHEN NOT t.defined THEN NULL
            WHEN t.aggregator = 'sum'
                THEN t.single_sum + coalesce(t.pair_sum, 0) + t.three_body + (t.n_defects - 1) * coalesce(d.value, 0)
            WHEN t.aggregator = 'shift_min' THEN t.single_min + coalesce(t.pair_sum, 0) + t.three_body
            WHEN t.aggregator = 'shift_max' THEN t.single_max + coalesce(t.pair_sum, 0) + t.three_body
            WHEN t.n_defects = 1 THEN t.single_sum
            WHEN t.aggregator = 'min' THEN t.pair_min + t.three_body
            ELSE t.pair_max + t.three_body
        END AS base
    FROM totals AS t
    LEFT JOIN offsets AS d USING (model_id)
),
$composition
outputs (target, output, unit, per_site) AS (VALUES $outputs),
-- half-widths of the composition, else of the number of defects, else of every defect
valued AS (
    SELECT
        b.*, o.output, o.unit, CASE WHEN o.per_site THEN b.n_defects ELSE 1 END AS share, $composed_value AS whole,
        b.extrapolated$composed_outside AS outside,
        CASE WHEN b.extrapolated$composed_outside
            THEN coalesce(c.half_width_outside, g.half_width_outside, b.n_defects * e.half_width_outside)
            ELSE coalesce(c.half_width, g.half_width, b.n_defects * e.half_width)
        END AS half
    FROM based AS b
    JOIN outputs AS o USING (target)
    LEFT JOIN prediction_intervals AS c
        ON c.model_id = b.model_id AND c.n_defects = b.n_defects AND c.composition = b.defect_labels
    LEFT JOIN prediction_intervals AS g
        ON g.model_id = b.model_id AND g.n_defects = b.n_defects AND g.composition IS NULL
    LEFT JOIN prediction_intervals AS e ON e.model_id = b.model_id AND e.n_defects IS NULL
    $composed_join
)
SELECT
    structure_id, output AS target, whole / share AS value, unit, model_id, n_defects, outside AS extrapolated, missing,
    (whole - half) / share AS lower_90, (whole + half) / share AS upper_90
FROM valued
