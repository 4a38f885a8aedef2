-- Elements and formulas of every structure, and predictions side by side. A composition is computed once for each
-- host and set of defect labels, of one structure that has them: there are far fewer of these than structures.
WITH kinds AS (
    SELECT host_id, defect_labels, min(structure_key) AS structure_key FROM structures GROUP BY host_id, defect_labels
),
host_numbers AS (
    SELECT host_id, element, count(*) AS n FROM host_sites GROUP BY host_id, element
),
changes AS (
    SELECT k.host_id, k.defect_labels, h.element, h.n FROM kinds AS k JOIN host_numbers AS h USING (host_id)
    UNION ALL
    SELECT k.host_id, k.defect_labels, d.element_from, -1 FROM kinds AS k JOIN defects AS d USING (structure_key)
    WHERE d.kind IN ('vacancy', 'substitution')
    UNION ALL
    SELECT k.host_id, k.defect_labels, d.element_to, 1 FROM kinds AS k JOIN defects AS d USING (structure_key)
    WHERE d.kind <> 'vacancy'
),
numbers AS (
    SELECT host_id, defect_labels, element, CAST(sum(n) AS BIGINT) AS n FROM changes
    GROUP BY host_id, defect_labels, element HAVING sum(n) > 0
),
gathered AS (
    SELECT
        host_id, defect_labels,
        list(element ORDER BY element) AS elements,
        list(n ORDER BY element) AS numbers,
        list(n ORDER BY n DESC) AS falling,
        CAST(sum(n) AS BIGINT) AS nsites
    FROM numbers GROUP BY host_id, defect_labels
),
divided AS (
    SELECT
        *,
        list_reduce(numbers, lambda x, y: greatest_common_divisor(x, y)) AS divisor,
        -- Hill: carbon, then hydrogen, then the rest by the alphabet; without carbon all by the alphabet
        CASE WHEN list_contains(elements, 'C')
            THEN list_filter(['C', 'H'], lambda e: list_contains(elements, e))
                || list_filter(elements, lambda e: e NOT IN ('C', 'H'))
            ELSE elements
        END AS hill
    FROM gathered
),
compositions AS (
    SELECT
        host_id, defect_labels, elements, nsites,
        len(elements) AS nelements,
        list_transform(numbers, lambda n: n / nsites) AS elements_ratios,
        array_to_string(list_transform(
            elements, lambda e, i: e || CASE WHEN numbers[i] = divisor THEN '' ELSE numbers[i] // divisor || '' END
        ), '') AS reduced,
        array_to_string(list_transform(hill, lambda e:
            e || CASE numbers[list_position(elements, e)] WHEN 1 THEN '' ELSE numbers[list_position(elements, e)] || '' END
        ), '') AS hill,
        array_to_string(list_transform(
            falling, lambda n, i: chr(CAST(64 + i AS INTEGER)) || CASE WHEN n = divisor THEN '' ELSE n // divisor || '' END
        ), '') AS anonymous
    FROM divided
),
predicted AS (
    SELECT
        structure_id,
        max(value) FILTER (target = 'formation_energy') AS energy,
        max(lower_90) FILTER (target = 'formation_energy') AS energy_lower,
        max(upper_90) FILTER (target = 'formation_energy') AS energy_upper,
        max(value) FILTER (target = 'formation_energy_per_site') AS per_site,
        max(lower_90) FILTER (target = 'formation_energy_per_site') AS per_site_lower,
        max(upper_90) FILTER (target = 'formation_energy_per_site') AS per_site_upper,
        max(value) FILTER (target = 'homo_lumo_gap') AS gap,
        max(lower_90) FILTER (target = 'homo_lumo_gap') AS gap_lower,
        max(upper_90) FILTER (target = 'homo_lumo_gap') AS gap_upper,
        bool_or(extrapolated) AS extrapolated
    FROM predictions
    WHERE isfinite(value)
    GROUP BY structure_id
)
