-- Every two defects of the structures in frame "wanted" nearer than $cutoff, each periodic image in the plane by itself,
-- and every defect with its own images (each of two opposite ones once). "first", "second" number a structure's defects.
WITH hosts_wanted AS (
    SELECT * FROM hosts WHERE host_id IN (SELECT host_id FROM wanted)
),
translations AS (
    SELECT
        h.host_id, o.image_a, o.image_b,
        o.image_a * h.a_x + o.image_b * h.b_x AS t_x,
        o.image_a * h.a_y + o.image_b * h.b_y AS t_y
    FROM hosts_wanted AS h
    CROSS JOIN image_offsets AS o
    WHERE sqrt(pow(o.image_a * h.a_x + o.image_b * h.b_x, 2) + pow(o.image_a * h.a_y + o.image_b * h.b_y, 2))
        <= $cutoff + (sqrt(pow(h.a_x, 2) + pow(h.a_y, 2)) + sqrt(pow(h.b_x, 2) + pow(h.b_y, 2))) / 2
),
images AS (
    SELECT
        w."row", p.defect_i AS first, p.defect_j AS second, p.dz,
        sqrt(pow(p.dx_min + t.t_x, 2) + pow(p.dy_min + t.t_y, 2)) AS inplane
    FROM wanted AS w
    JOIN pairs AS p USING (structure_key)
    JOIN translations AS t USING (host_id)
    UNION ALL
    SELECT w."row", d.idx, d.idx, 0, sqrt(pow(t.t_x, 2) + pow(t.t_y, 2))
    FROM wanted AS w
    JOIN defects AS d USING (structure_key)
    JOIN translations AS t USING (host_id)
    WHERE t.image_a > 0 OR (t.image_a = 0 AND t.image_b > 0)
)
SELECT "row", first, second, dz, inplane, sqrt(inplane * inplane + dz * dz) AS distance
FROM images
WHERE inplane * inplane + dz * dz <= $cutoff * $cutoff
ORDER BY "row", first, second, distance
