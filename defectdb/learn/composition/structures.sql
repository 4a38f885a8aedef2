-- Structures of supercells that have no 1-defect structure: too dense for the worth of single defects to be known.
SELECT
    s.structure_id, s.n_defects, h.n_sites, s.defect_labels, t.value,
    CAST(CAST('0x' || substr(md5(s.structure_id), 1, 8) AS UBIGINT) % $folds AS INTEGER) AS fold
FROM structures AS s
JOIN hosts AS h USING (host_id)
LEFT JOIN target_values AS t ON t.structure_id = s.structure_id AND t.target = $target
WHERE h.material_id = $material AND s.n_defects > 0 AND s.charge = 0
    AND h.host_id NOT IN (SELECT o.host_id FROM one_defect_energies AS o WHERE o.target = $target AND o.charge = 0)
    $predicate
ORDER BY s.structure_id
