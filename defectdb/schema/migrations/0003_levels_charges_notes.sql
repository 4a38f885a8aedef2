-- What was loaded although its source says something else about it.
CREATE TABLE notes (
    dataset_id VARCHAR NOT NULL,
    structure_id VARCHAR NOT NULL,
    note VARCHAR NOT NULL
);

-- Energies of different levels of theory or charges never average. Of older files no level is known: each of their
-- datasets is one of its own, until it is loaded again.
ALTER TABLE datasets ADD COLUMN level VARCHAR;
ALTER TABLE datasets ADD COLUMN functional VARCHAR;
UPDATE datasets SET level = dataset_id;
ALTER TABLE structures ADD COLUMN charge INTEGER DEFAULT 0;
ALTER TABLE hosts ADD COLUMN pbc VARCHAR DEFAULT 'ab';

-- "label" carries the charge where there is one: Vac_S^-1 is the energy of the vacancy with one more electron.
CREATE OR REPLACE VIEW one_defect_energies AS
SELECT
    s.host_id,
    coalesce(b.level, b.dataset_id) AS level,
    d.label || CASE WHEN s.charge = 0 THEN '' ELSE printf('^%+d', s.charge) END AS label,
    s.charge,
    t.target,
    avg(t.value) AS value,
    count(*) AS n_structures,
    max(t.value) - min(t.value) AS spread
FROM structures AS s
JOIN datasets AS b USING (dataset_id)
JOIN defects AS d USING (structure_key)
JOIN target_values AS t ON t.structure_id = s.structure_id
WHERE s.n_defects = 1
GROUP BY s.host_id, coalesce(b.level, b.dataset_id), d.label, s.charge, t.target;

-- Formation energy of each neutral 2-defect structure less the energies of its two defects alone.
CREATE OR REPLACE VIEW raw_pair_energies AS
SELECT
    s.structure_id, s.dataset_id, s.host_id, h.material_id,
    p.pair_id, p.label, p.distance, p.distance_inplane, p.dz, p.angle, p.shell,
    w.formation_energy, e_i.value AS energy_i, e_j.value AS energy_j,
    w.formation_energy - e_i.value - e_j.value AS pair_energy,
    w.homo, w.lumo, w.homo_lumo_gap,
    coalesce(b.level, b.dataset_id) AS level
FROM structures AS s
JOIN datasets AS b USING (dataset_id)
JOIN hosts AS h USING (host_id)
JOIN pairs AS p USING (structure_key)
JOIN targets_wide AS w ON w.structure_id = s.structure_id
JOIN defects AS d_i ON d_i.structure_key = s.structure_key AND d_i.idx = p.defect_i
JOIN defects AS d_j ON d_j.structure_key = s.structure_key AND d_j.idx = p.defect_j
LEFT JOIN one_defect_energies AS e_i
    ON e_i.host_id = s.host_id AND e_i.level = coalesce(b.level, b.dataset_id)
    AND e_i.label = d_i.label AND e_i.target = 'formation_energy'
LEFT JOIN one_defect_energies AS e_j
    ON e_j.host_id = s.host_id AND e_j.level = coalesce(b.level, b.dataset_id)
    AND e_j.label = d_j.label AND e_j.target = 'formation_energy'
WHERE s.n_defects = 2 AND s.charge = 0;

CREATE OR REPLACE VIEW host_offsets AS
WITH ranked AS (
    SELECT
        host_id, level, distance, pair_energy,
        max(distance) OVER (PARTITION BY host_id, level) > 9 AS reaches,
        percent_rank() OVER (PARTITION BY host_id, level ORDER BY distance DESC) AS farness
    FROM raw_pair_energies
    WHERE pair_energy IS NOT NULL
)
SELECT host_id, level, median(pair_energy) AS value, count(*) AS n_pairs, min(distance) AS distance_min
FROM ranked
WHERE CASE WHEN reaches THEN distance > 9 ELSE farness <= 1.0 / 3 END
GROUP BY host_id, level;

CREATE OR REPLACE VIEW pair_energies AS
SELECT
    p.structure_id, p.dataset_id, p.host_id, p.material_id, p.pair_id, p.label,
    p.distance, p.distance_inplane, p.dz, p.angle, p.shell,
    p.formation_energy, p.energy_i, p.energy_j, p.pair_energy,
    p.pair_energy - o.value AS interaction,
    p.homo, p.lumo, p.homo_lumo_gap,
    p.level
FROM raw_pair_energies AS p
LEFT JOIN host_offsets AS o USING (host_id, level);
