-- Structures of one material with a value of the target: how many defects of which kind, and of the cell how many sites.
SELECT
    s.structure_id, s.n_defects, h.n_sites, s.defect_labels, t.value,
    CAST(CAST('0x' || substr(md5(s.structure_id), 1, 8) AS UBIGINT) % $folds AS INTEGER) AS fold
FROM structures AS s
JOIN hosts AS h USING (host_id)
JOIN target_values AS t ON t.structure_id = s.structure_id AND t.target = $target
WHERE h.material_id = $material AND s.n_defects BETWEEN $fewest AND $most AND s.charge = 0 $predicate
ORDER BY s.structure_id
