-- The defects of the structures in frame "wanted": elements, sublattice, and the height above or below the middle of the layer.
WITH middles AS (
    SELECT
        h.host_id, (min(s.frac_z * h.c_z) + max(s.frac_z * h.c_z)) / 2 AS z
    FROM hosts AS h
    JOIN host_sites AS s USING (host_id)
    WHERE h.host_id IN (SELECT host_id FROM wanted)
    GROUP BY h.host_id
)
SELECT
    w."row", d.idx, d.label, d.element_from, d.element_to, d.sublattice, abs(d.z - m.z) AS height
FROM wanted AS w
JOIN defects AS d USING (structure_key)
JOIN middles AS m USING (host_id)
ORDER BY w."row", d.idx
