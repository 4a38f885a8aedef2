-- Structures with two or more defects in supercells with 1-defect structures: value of the target, and what their
-- single defects alone give.
SELECT
    s.structure_id, any_value(s.n_defects) AS n_defects, any_value(t.value) AS value,
    $base AS base, count(o.value) AS n_known,
    CAST(CAST('0x' || substr(md5(s.structure_id), 1, 8) AS UBIGINT) % $folds AS INTEGER) AS fold
FROM structures AS s
JOIN hosts ON hosts.host_id = s.host_id AND s.charge = 0
JOIN datasets AS b USING (dataset_id)
JOIN target_values AS t ON t.structure_id = s.structure_id AND t.target = $target
JOIN defects AS d ON d.structure_id = s.structure_id
LEFT JOIN one_defect_energies AS o ON o.host_id = s.host_id AND o.label = d.label AND o.target = $target
    AND o.level = coalesce(b.level, b.dataset_id)
LEFT JOIN host_offsets AS h ON h.host_id = s.host_id AND h.level = coalesce(b.level, b.dataset_id)
WHERE hosts.material_id = $material AND s.n_defects BETWEEN 2 AND $most
    AND s.host_id IN (SELECT x.host_id FROM one_defect_energies AS x WHERE x.target = $target AND x.charge = 0) $predicate
GROUP BY s.structure_id
ORDER BY s.structure_id
