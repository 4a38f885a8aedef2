-- every structure has its dataset
SELECT structure_id AS example FROM structures ANTI JOIN datasets USING (dataset_id);

-- every structure has its host
SELECT structure_id AS example FROM structures ANTI JOIN hosts USING (host_id);

-- every defect has its structure
SELECT structure_id AS example FROM defects ANTI JOIN structures USING (structure_id);

-- every target has its structure
SELECT structure_id || ' ' || target AS example FROM targets ANTI JOIN (
    SELECT structure_id FROM structures UNION ALL SELECT structure_id FROM configurations) USING (structure_id);

-- every pair has its two defects
SELECT p.structure_id AS example
FROM pairs AS p
LEFT JOIN defects AS i ON i.structure_id = p.structure_id AND i.idx = p.defect_i
LEFT JOIN defects AS j ON j.structure_id = p.structure_id AND j.idx = p.defect_j
WHERE i.idx IS NULL OR j.idx IS NULL;

-- structures have the number of defects they say
SELECT s.structure_id AS example
FROM structures AS s LEFT JOIN defects AS d USING (structure_id)
GROUP BY s.structure_id, s.n_defects
HAVING count(d.idx) <> s.n_defects;

-- structures have numbers of their own, and their defects and pairs the same
SELECT structure_id AS example FROM structures QUALIFY count(*) OVER (PARTITION BY structure_key) > 1
UNION ALL
SELECT x.structure_id
FROM (SELECT structure_id, structure_key FROM defects UNION SELECT structure_id, structure_key FROM pairs) AS x
ANTI JOIN structures AS s ON s.structure_id = x.structure_id AND s.structure_key = x.structure_key;

-- structures list the labels of their defects
SELECT s.structure_id AS example
FROM structures AS s LEFT JOIN defects AS d USING (structure_id)
GROUP BY s.structure_id, s.defect_labels
HAVING coalesce(string_agg(d.label, '+' ORDER BY d.label), '') <> s.defect_labels;

-- structures have all their pairs
SELECT s.structure_id AS example
FROM structures AS s LEFT JOIN pairs AS p USING (structure_id)
GROUP BY s.structure_id, s.n_defects
HAVING count(p.pair_id) <> s.n_defects * (s.n_defects - 1) // 2;

-- pair distances agree with their parts
SELECT structure_id AS example FROM pairs
WHERE abs(distance - sqrt(pow(distance_inplane, 2) + pow(dz, 2))) > 1e-6
   OR abs(distance_inplane - sqrt(pow(dx_min, 2) + pow(dy_min, 2))) > 1e-6;

-- no structure has two values of one target and spin
SELECT structure_id || ' ' || target AS example FROM targets GROUP BY structure_id, target, spin HAVING count(*) > 1;

-- stored formation energies follow from energies and chemical potentials
WITH exchanged AS (
    SELECT d.structure_id,
           sum(coalesce(gone.mu, 0) - coalesce(come.mu, 0)) AS mu,
           bool_or((d.element_from IS NOT NULL AND gone.mu IS NULL)
                OR (d.element_to IS NOT NULL AND come.mu IS NULL)) AS unknown
    FROM defects AS d
    JOIN structures AS s USING (structure_id)
    LEFT JOIN chemical_potentials AS gone ON gone.dataset_id = s.dataset_id AND gone.element = d.element_from
    LEFT JOIN chemical_potentials AS come ON come.dataset_id = s.dataset_id AND come.element = d.element_to
    GROUP BY d.structure_id
)
SELECT s.structure_id AS example
FROM structures AS s
JOIN hosts AS h USING (host_id)
JOIN exchanged AS x USING (structure_id)
JOIN targets AS e ON e.structure_id = s.structure_id AND e.target = 'energy' AND e.spin = ''
JOIN targets AS f ON f.structure_id = s.structure_id AND f.target = 'formation_energy' AND f.spin = ''
WHERE h.energy IS NOT NULL AND NOT x.unknown AND (s.charge = 0 OR f.source = 'computed')
  AND abs(e.value - h.energy + x.mu + s.charge * coalesce(h.e_vbm, 0) - f.value) > 1e-6;

-- every term has its model and its formula
SELECT 'model ' || t.model_id || ' ' || t.label AS example
FROM model_terms AS t
LEFT JOIN models AS m USING (model_id)
LEFT JOIN formulas AS f USING (formula_id)
WHERE m.model_id IS NULL OR (t.formula_id IS NOT NULL AND f.formula_id IS NULL);

-- every formula and model has its run
SELECT example FROM (
    SELECT 'formula ' || formula_id AS example, run_id FROM formulas
    UNION ALL
    SELECT 'model ' || model_id, run_id FROM models
) ANTI JOIN runs USING (run_id);

-- at most one model of a material and target is active
SELECT material_id || ' ' || target AS example FROM models WHERE status = 'active'
GROUP BY material_id, target HAVING count(*) > 1;

-- the active formulas are those of the active models
SELECT 'formula ' || f.formula_id AS example FROM formulas AS f
WHERE (f.status = 'active') <> (f.formula_id IN (
    SELECT t.formula_id FROM model_terms AS t JOIN models AS m USING (model_id)
    WHERE m.status = 'active' AND t.formula_id IS NOT NULL
    UNION ALL
    SELECT unnest([p.phi_id, p.rho_id, p.embedding_id]) FROM potentials AS p JOIN models AS m USING (model_id)
    WHERE m.status = 'active'));

-- every configuration has its atoms
SELECT structure_id AS example FROM configurations AS c LEFT JOIN atoms AS a USING (structure_id)
WHERE a.numbers IS NULL OR len(a.numbers) <> c.n_atoms
UNION ALL
SELECT structure_id FROM atoms ANTI JOIN configurations USING (structure_id);

-- every potential has its model and its formulas
SELECT 'model ' || model_id AS example FROM (
    SELECT model_id, unnest([phi_id, rho_id, embedding_id]) AS formula_id FROM potentials
) ANTI JOIN (SELECT m.model_id, f.formula_id FROM models AS m, formulas AS f) USING (model_id, formula_id);

-- every network has its run, and every prediction of one its network and structure
SELECT CAST(network_id AS VARCHAR) AS example FROM networks ANTI JOIN runs USING (run_id)
UNION ALL
SELECT structure_id FROM network_predictions ANTI JOIN networks USING (network_id)
UNION ALL
SELECT structure_id FROM network_predictions ANTI JOIN structures USING (structure_id);
