-- How formulas and network err where a configuration occurs: pairs by label, shell and |dz|, triangles by label and
-- edges. Frame "errors" holds structure_id, structure_key, formulas, network.
WITH found AS (
    SELECT DISTINCT 'pair' AS kind, p.label, p.shell, [round(p.distance, 2)] AS edges, round(p.dz, 2) AS dz, e.*
    FROM errors AS e
    JOIN pairs AS p USING (structure_key)
    UNION ALL
    SELECT DISTINCT
        'triangle', t.label, NULL, [round(t.r12, 2), round(t.r13, 2), round(t.r23, 2)],
        round(greatest(t.dz12, t.dz13, t.dz23), 2), e.*
    FROM errors AS e
    JOIN triples AS t ON t.structure_id = e.structure_id
)
SELECT
    kind, label, shell, edges, dz, count(*) AS n, avg(abs(formulas)) AS formulas, avg(abs(network)) AS network,
    avg(abs(formulas) - abs(network)) AS gain, avg(formulas) AS bias
FROM found
GROUP BY kind, label, shell, edges, dz
HAVING count(*) >= $fewest AND avg(abs(formulas) - abs(network)) > 0
ORDER BY count(*) * avg(abs(formulas) - abs(network)) DESC, kind, label, edges, dz
LIMIT $most
