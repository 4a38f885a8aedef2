-- how many defects of each label there are: far fewer kinds than structures
counted AS (
    SELECT defect_labels$counts
    FROM (SELECT DISTINCT defect_labels FROM scope)
),
-- what a structure's composition adds to the other terms
composed AS (
    SELECT
        s.structure_id, s.model_id, sum(coalesce($kernels, CAST('NaN' AS DOUBLE))) AS value,
        bool_or(s.n_defects NOT BETWEEN t.r_min AND t.r_max) AS outside
    FROM based AS s
    JOIN terms AS t ON t.n = 0 AND t.formula_id IS NOT NULL AND t.model_id = s.model_id
    JOIN counted AS c USING (defect_labels)
    GROUP BY s.structure_id, s.model_id
),
