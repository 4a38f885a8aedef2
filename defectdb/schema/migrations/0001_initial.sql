-- The first schema. Units and meanings of every column live in schema/fields.py and become COMMENTs.
--
-- Foreign keys stand only between tables whose rows are appended and never deleted. DuckDB checks them
-- against the state before the transaction, so a dataset and its rows could otherwise not be removed or
-- replaced in one transaction. `defectdb check` verifies the references that no key guards.

CREATE TABLE schema_migrations (
    version INTEGER PRIMARY KEY,
    name VARCHAR NOT NULL,
    applied_at TIMESTAMP NOT NULL
);

CREATE TABLE datasets (
    dataset_id VARCHAR PRIMARY KEY,
    name VARCHAR NOT NULL,
    format VARCHAR NOT NULL,
    source_uri VARCHAR NOT NULL,
    sha256 VARCHAR NOT NULL CHECK (length(sha256) = 64),
    licence VARCHAR,
    citation VARCHAR,
    doi VARCHAR,
    cutoff DOUBLE NOT NULL CHECK (cutoff > 0),
    n_structures BIGINT NOT NULL,
    n_rejects BIGINT NOT NULL,
    ingested_at TIMESTAMP NOT NULL
);

CREATE TABLE materials (
    material_id VARCHAR PRIMARY KEY,
    formula VARCHAR NOT NULL,
    a_x DOUBLE NOT NULL, a_y DOUBLE NOT NULL, a_z DOUBLE NOT NULL,
    b_x DOUBLE NOT NULL, b_y DOUBLE NOT NULL, b_z DOUBLE NOT NULL,
    c_x DOUBLE NOT NULL, c_y DOUBLE NOT NULL, c_z DOUBLE NOT NULL,
    zigzag_x DOUBLE NOT NULL, zigzag_y DOUBLE NOT NULL,
    angle_period DOUBLE NOT NULL CHECK (angle_period > 0),
    n_sites INTEGER NOT NULL CHECK (n_sites > 0)
);

CREATE TABLE material_sites (
    material_id VARCHAR NOT NULL REFERENCES materials (material_id),
    sublattice INTEGER NOT NULL CHECK (sublattice >= 0),
    element VARCHAR NOT NULL,
    layer VARCHAR NOT NULL,
    frac_x DOUBLE NOT NULL, frac_y DOUBLE NOT NULL, frac_z DOUBLE NOT NULL,
    PRIMARY KEY (material_id, sublattice)
);

CREATE TABLE hosts (
    host_id VARCHAR PRIMARY KEY,
    material_id VARCHAR NOT NULL REFERENCES materials (material_id),
    supercell VARCHAR NOT NULL,
    n_sites INTEGER NOT NULL CHECK (n_sites > 0),
    a_x DOUBLE NOT NULL, a_y DOUBLE NOT NULL, a_z DOUBLE NOT NULL,
    b_x DOUBLE NOT NULL, b_y DOUBLE NOT NULL, b_z DOUBLE NOT NULL,
    c_x DOUBLE NOT NULL, c_y DOUBLE NOT NULL, c_z DOUBLE NOT NULL,
    energy DOUBLE,
    e1 DOUBLE,
    e_vbm DOUBLE,
    fermi DOUBLE
);

CREATE TABLE host_sites (
    host_id VARCHAR NOT NULL,
    site_index INTEGER NOT NULL CHECK (site_index >= 0),
    element VARCHAR NOT NULL,
    sublattice INTEGER NOT NULL,
    layer VARCHAR NOT NULL,
    frac_x DOUBLE NOT NULL, frac_y DOUBLE NOT NULL, frac_z DOUBLE NOT NULL
);

CREATE TABLE chemical_potentials (
    dataset_id VARCHAR NOT NULL,
    element VARCHAR NOT NULL,
    mu DOUBLE NOT NULL,
    reference VARCHAR,
    PRIMARY KEY (dataset_id, element)
);

-- "structure_key" numbers the structures: joins and groups over millions of pairs go by it, four times as fast as by
-- the ids, which are text. "defect_labels" are the labels of the structure's defects, sorted and joined by +.
CREATE TABLE structures (
    structure_id VARCHAR PRIMARY KEY,
    dataset_id VARCHAR NOT NULL,
    host_id VARCHAR NOT NULL,
    descriptor VARCHAR,
    n_defects INTEGER NOT NULL CHECK (n_defects >= 0),
    composition VARCHAR NOT NULL,
    density VARCHAR CHECK (density IN ('low', 'high')),
    relaxed BOOLEAN NOT NULL DEFAULT FALSE,
    max_displacement DOUBLE,
    source_path VARCHAR NOT NULL,
    content_hash VARCHAR NOT NULL,
    structure_key INTEGER NOT NULL,
    defect_labels VARCHAR NOT NULL
);

CREATE TABLE defects (
    defect_id BIGINT NOT NULL,
    structure_id VARCHAR NOT NULL,
    idx INTEGER NOT NULL CHECK (idx >= 0),
    kind VARCHAR NOT NULL CHECK (kind IN ('vacancy', 'substitution', 'interstitial', 'adatom')),
    label VARCHAR NOT NULL,
    element_from VARCHAR,
    element_to VARCHAR,
    site_index INTEGER,
    sublattice INTEGER,
    layer VARCHAR,
    frac_x DOUBLE NOT NULL, frac_y DOUBLE NOT NULL, frac_z DOUBLE NOT NULL,
    x DOUBLE NOT NULL, y DOUBLE NOT NULL, z DOUBLE NOT NULL,
    structure_key INTEGER NOT NULL
);

CREATE TABLE pairs (
    pair_id BIGINT NOT NULL,
    structure_id VARCHAR NOT NULL,
    defect_i INTEGER NOT NULL,
    defect_j INTEGER NOT NULL,
    label VARCHAR NOT NULL,
    distance DOUBLE NOT NULL CHECK (distance >= 0),
    distance_inplane DOUBLE NOT NULL CHECK (distance_inplane >= 0),
    dz DOUBLE NOT NULL CHECK (dz >= 0),
    dx_min DOUBLE NOT NULL,
    dy_min DOUBLE NOT NULL,
    angle DOUBLE,
    shell INTEGER,
    structure_key INTEGER NOT NULL,
    CHECK (defect_i < defect_j)
);

CREATE TABLE targets (
    structure_id VARCHAR NOT NULL,
    target VARCHAR NOT NULL,
    value DOUBLE NOT NULL,
    unit VARCHAR NOT NULL,
    spin VARCHAR NOT NULL DEFAULT '' CHECK (spin IN ('', 'majority', 'minority', 'max', 'min')),
    source VARCHAR NOT NULL
);

CREATE TABLE rejects (
    dataset_id VARCHAR NOT NULL,
    source_path VARCHAR NOT NULL,
    "row" BIGINT,
    reason VARCHAR NOT NULL,
    detail VARCHAR NOT NULL
);

CREATE TABLE runs (
    run_id BIGINT PRIMARY KEY,
    kind VARCHAR NOT NULL,
    status VARCHAR NOT NULL CHECK (status IN ('running', 'done', 'failed')),
    started_at TIMESTAMP NOT NULL,
    finished_at TIMESTAMP,
    config VARCHAR NOT NULL,
    selection_sql VARCHAR NOT NULL,
    selection_hash VARCHAR NOT NULL,
    n_rows BIGINT NOT NULL,
    seed BIGINT NOT NULL,
    device VARCHAR NOT NULL,
    version VARCHAR NOT NULL
);

CREATE TABLE generations (
    run_id BIGINT NOT NULL,
    task VARCHAR NOT NULL,
    generation INTEGER NOT NULL,
    seconds DOUBLE NOT NULL,
    n_candidates BIGINT NOT NULL,
    n_unique BIGINT NOT NULL,
    n_in_domain BIGINT NOT NULL,
    best_error DOUBLE,
    kl DOUBLE,
    loss DOUBLE
);

CREATE TABLE formulas (
    formula_id BIGINT PRIMARY KEY,
    run_id BIGINT NOT NULL,
    material_id VARCHAR NOT NULL,
    pair_label VARCHAR NOT NULL,
    target VARCHAR NOT NULL,
    version INTEGER NOT NULL CHECK (version > 0),
    ast VARCHAR NOT NULL,
    prefix VARCHAR NOT NULL,
    infix VARCHAR NOT NULL,
    latex VARCHAR NOT NULL,
    sql VARCHAR NOT NULL,
    constants DOUBLE[] NOT NULL,
    constant_errors DOUBLE[],
    complexity INTEGER NOT NULL CHECK (complexity > 0),
    n_constants INTEGER NOT NULL CHECK (n_constants >= 0),
    n_train BIGINT NOT NULL,
    mae_train DOUBLE NOT NULL,
    mae_cv DOUBLE,
    bic DOUBLE,
    description_length DOUBLE,
    r_min DOUBLE NOT NULL,
    r_max DOUBLE NOT NULL,
    dz_min DOUBLE NOT NULL DEFAULT 0,
    dz_max DOUBLE NOT NULL DEFAULT 1e9,
    images VARCHAR NOT NULL CHECK (images IN ('nearest', 'sum')),
    status VARCHAR NOT NULL CHECK (status IN ('candidate', 'active', 'retired', 'stale')),
    created_at TIMESTAMP NOT NULL
);

CREATE TABLE models (
    model_id BIGINT PRIMARY KEY,
    run_id BIGINT NOT NULL,
    material_id VARCHAR NOT NULL,
    target VARCHAR NOT NULL,
    version INTEGER NOT NULL CHECK (version > 0),
    aggregator VARCHAR NOT NULL CHECK (aggregator IN ('sum', 'min', 'max', 'shift_min', 'shift_max')),
    images VARCHAR NOT NULL CHECK (images IN ('nearest', 'sum')),
    trained_on VARCHAR NOT NULL,
    n_train BIGINT NOT NULL,
    mae_train DOUBLE,
    mae_cv DOUBLE,
    interval_90 DOUBLE,
    status VARCHAR NOT NULL CHECK (status IN ('candidate', 'active', 'retired', 'stale')),
    created_at TIMESTAMP NOT NULL
);

-- "order" 0 is the host offset, 1 a one-defect term, 2 a pair kernel, 3 a three-body term; "part" counts the
-- kernels that one pair label has by |dz| window.
CREATE TABLE model_terms (
    model_id BIGINT NOT NULL,
    "order" INTEGER NOT NULL CHECK ("order" BETWEEN 0 AND 3),
    label VARCHAR NOT NULL,
    part INTEGER NOT NULL DEFAULT 0 CHECK (part >= 0),
    formula_id BIGINT,
    value DOUBLE,
    CHECK ((formula_id IS NULL) <> (value IS NULL)),
    PRIMARY KEY (model_id, "order", label, part)
);

-- Every lattice translation that a cutoff of up to 32 cell heights can need.
CREATE VIEW image_offsets AS
SELECT CAST(a.i AS INTEGER) AS image_a, CAST(b.i AS INTEGER) AS image_b, CAST(0 AS INTEGER) AS image_c
FROM range(-32, 33) AS a (i), range(-32, 33) AS b (i);

-- Every periodic image of every pair within its dataset's cutoff, derived from the minimum-image vector
-- and the host lattice: a few milliseconds per 10,000 pairs, and a third of the file saved. The translations
-- are cut first to those of each host that can matter: a minimum image is never longer than half of |a| + |b|.
CREATE VIEW distances AS
WITH translations AS (
    SELECT
        h.host_id, d.dataset_id, d.cutoff, o.image_a, o.image_b, o.image_c,
        o.image_a * h.a_x + o.image_b * h.b_x AS t_x,
        o.image_a * h.a_y + o.image_b * h.b_y AS t_y
    FROM hosts AS h
    CROSS JOIN datasets AS d
    CROSS JOIN image_offsets AS o
    WHERE sqrt(pow(o.image_a * h.a_x + o.image_b * h.b_x, 2) + pow(o.image_a * h.a_y + o.image_b * h.b_y, 2))
        <= d.cutoff + (sqrt(pow(h.a_x, 2) + pow(h.a_y, 2)) + sqrt(pow(h.b_x, 2) + pow(h.b_y, 2))) / 2
),
images AS (
    SELECT
        p.pair_id, p.structure_id, p.label, t.image_a, t.image_b, t.image_c,
        p.dx_min + t.t_x AS dx,
        p.dy_min + t.t_y AS dy,
        p.dz AS dz,
        t.cutoff AS cutoff
    FROM pairs AS p
    JOIN structures AS s USING (structure_key)
    JOIN translations AS t USING (dataset_id, host_id)
)
SELECT
    pair_id, structure_id, label, image_a, image_b, image_c,
    sqrt(dx * dx + dy * dy + dz * dz) AS distance,
    dx, dy, dz
FROM images
WHERE dx * dx + dy * dy + dz * dz <= cutoff * cutoff;

-- One value per structure and target: where a source has only spin-resolved values, the level nearest to the gap.
CREATE VIEW target_values AS
SELECT
    structure_id,
    target,
    CASE
        WHEN count(*) FILTER (spin = '') > 0 THEN max(value) FILTER (spin = '')
        WHEN target IN ('homo', 'normalized_homo') THEN max(value)
        ELSE min(value)
    END AS value,
    min(unit) AS unit
FROM targets
WHERE spin = '' OR target IN ('homo', 'lumo', 'homo_lumo_gap', 'normalized_homo', 'normalized_lumo')
GROUP BY structure_id, target;

CREATE VIEW targets_wide AS
SELECT
    structure_id,
    max(value) FILTER (target = 'formation_energy') AS formation_energy,
    max(value) FILTER (target = 'formation_energy_per_site') AS formation_energy_per_site,
    max(value) FILTER (target = 'homo_lumo_gap') AS homo_lumo_gap,
    max(value) FILTER (target = 'homo') AS homo,
    max(value) FILTER (target = 'lumo') AS lumo,
    max(value) FILTER (target = 'energy') AS energy,
    max(value) FILTER (target = 'energy_per_atom') AS energy_per_atom,
    max(value) FILTER (target = 'fermi_level') AS fermi_level,
    max(value) FILTER (target = 'normalized_homo') AS normalized_homo,
    max(value) FILTER (target = 'normalized_lumo') AS normalized_lumo,
    max(value) FILTER (target = 'total_mag') AS total_mag
FROM target_values
GROUP BY structure_id;

CREATE VIEW one_defect_energies AS
SELECT s.host_id, d.label, t.target, avg(t.value) AS value, count(*) AS n_structures
FROM structures AS s
JOIN defects AS d USING (structure_id)
JOIN target_values AS t USING (structure_id)
WHERE s.n_defects = 1
GROUP BY s.host_id, d.label, t.target;

-- Formation energy of each 2-defect structure less the energies of its two defects alone.
CREATE VIEW raw_pair_energies AS
SELECT
    s.structure_id, s.dataset_id, s.host_id, h.material_id,
    p.pair_id, p.label, p.distance, p.distance_inplane, p.dz, p.angle, p.shell,
    w.formation_energy, e_i.value AS energy_i, e_j.value AS energy_j,
    w.formation_energy - e_i.value - e_j.value AS pair_energy,
    w.homo, w.lumo, w.homo_lumo_gap
FROM structures AS s
JOIN hosts AS h USING (host_id)
JOIN pairs AS p USING (structure_id)
JOIN targets_wide AS w USING (structure_id)
JOIN defects AS d_i ON d_i.structure_id = s.structure_id AND d_i.idx = p.defect_i
JOIN defects AS d_j ON d_j.structure_id = s.structure_id AND d_j.idx = p.defect_j
LEFT JOIN one_defect_energies AS e_i
    ON e_i.host_id = s.host_id AND e_i.label = d_i.label AND e_i.target = 'formation_energy'
LEFT JOIN one_defect_energies AS e_j
    ON e_j.host_id = s.host_id AND e_j.label = d_j.label AND e_j.target = 'formation_energy'
WHERE s.n_defects = 2;

-- What raw pair energies tend to at large distance: median beyond 9 angstrom, else of the farthest third.
CREATE VIEW host_offsets AS
WITH ranked AS (
    SELECT
        host_id, distance, pair_energy,
        max(distance) OVER (PARTITION BY host_id) > 9 AS reaches,
        percent_rank() OVER (PARTITION BY host_id ORDER BY distance DESC) AS farness
    FROM raw_pair_energies
    WHERE pair_energy IS NOT NULL
)
SELECT host_id, median(pair_energy) AS value, count(*) AS n_pairs, min(distance) AS distance_min
FROM ranked
WHERE CASE WHEN reaches THEN distance > 9 ELSE farness <= 1.0 / 3 END
GROUP BY host_id;

CREATE VIEW pair_energies AS
SELECT
    p.structure_id, p.dataset_id, p.host_id, p.material_id, p.pair_id, p.label,
    p.distance, p.distance_inplane, p.dz, p.angle, p.shell,
    p.formation_energy, p.energy_i, p.energy_j, p.pair_energy,
    p.pair_energy - o.value AS interaction,
    p.homo, p.lumo, p.homo_lumo_gap
FROM raw_pair_energies AS p
LEFT JOIN host_offsets AS o USING (host_id);

-- Every three defects of a structure in one canonical order: by label; among like labels such that
-- (r12, r13, r23) is lexicographically smallest, which is: by the opposite edge, longest first. Edges equal
-- to a millionth of an angstrom are ordered by |dz|.
CREATE VIEW triples AS
WITH edges AS (
    SELECT
        p.structure_key, p.structure_id, p.defect_i, p.defect_j, p.distance, p.dz, a.label AS label_i, b.label AS label_j
    FROM pairs AS p
    JOIN structures AS s ON s.structure_key = p.structure_key AND s.n_defects > 2
    JOIN defects AS a ON a.structure_key = p.structure_key AND a.idx = p.defect_i
    JOIN defects AS b ON b.structure_key = p.structure_key AND b.idx = p.defect_j
),
triangles AS (
    SELECT
        x.structure_key, x.structure_id, x.label_i AS la, x.label_j AS lb, y.label_j AS lc,
        z.distance AS oa, y.distance AS ob, x.distance AS oc, z.dz AS za, y.dz AS zb, x.dz AS zc,
        round(z.distance, 6) AS qa, round(y.distance, 6) AS qb, round(x.distance, 6) AS qc
    FROM edges AS x
    JOIN edges AS y ON y.structure_key = x.structure_key AND y.defect_i = x.defect_i AND y.defect_j > x.defect_j
    JOIN edges AS z ON z.structure_key = x.structure_key AND z.defect_i = x.defect_j AND z.defect_j = y.defect_j
),
compared AS (
    SELECT
        *,
        la < lb OR (la = lb AND (qa > qb OR (qa = qb AND za >= zb))) AS ab,
        la < lc OR (la = lc AND (qa > qc OR (qa = qc AND za >= zc))) AS ac,
        lb < lc OR (lb = lc AND (qb > qc OR (qb = qc AND zb >= zc))) AS bc
    FROM triangles
)
SELECT
    structure_id,
    CASE WHEN ab AND ac THEN la WHEN bc AND NOT ab THEN lb ELSE lc END
    || '-' || CASE WHEN ab <> ac THEN la WHEN ab = bc THEN lb ELSE lc END
    || '-' || CASE WHEN NOT (ab OR ac) THEN la WHEN ab AND NOT bc THEN lb ELSE lc END AS label,
    CASE WHEN NOT (ab OR ac) THEN oa WHEN ab AND NOT bc THEN ob ELSE oc END AS r12,
    CASE WHEN ab <> ac THEN oa WHEN ab = bc THEN ob ELSE oc END AS r13,
    CASE WHEN ab AND ac THEN oa WHEN bc AND NOT ab THEN ob ELSE oc END AS r23,
    CASE WHEN NOT (ab OR ac) THEN za WHEN ab AND NOT bc THEN zb ELSE zc END AS dz12,
    CASE WHEN ab <> ac THEN za WHEN ab = bc THEN zb ELSE zc END AS dz13,
    CASE WHEN ab AND ac THEN za WHEN bc AND NOT ab THEN zb ELSE zc END AS dz23,
    structure_key
FROM compared;

CREATE VIEW formula_history AS
SELECT
    f.material_id, f.pair_label, f.target, f.version, f.formula_id, f.dz_min, f.dz_max, f.infix, f.complexity,
    f.mae_train, f.mae_cv, f.status, f.created_at, f.run_id,
    list(DISTINCT t.model_id ORDER BY t.model_id) FILTER (t.model_id IS NOT NULL) AS model_ids
FROM formulas AS f
LEFT JOIN model_terms AS t USING (formula_id)
GROUP BY ALL;

-- The compiled views: without a model they are empty; every activation writes them anew (db/compile.py).
CREATE VIEW predictions AS
SELECT
    CAST(NULL AS VARCHAR) AS structure_id, CAST(NULL AS VARCHAR) AS target, CAST(NULL AS DOUBLE) AS value,
    CAST(NULL AS VARCHAR) AS unit, CAST(NULL AS BIGINT) AS model_id, CAST(NULL AS INTEGER) AS n_defects,
    CAST(NULL AS BOOLEAN) AS extrapolated, CAST(NULL AS VARCHAR[]) AS missing
WHERE FALSE;

CREATE VIEW predictions_latest AS SELECT * FROM predictions;

CREATE MACRO predictions_as_of(m) AS TABLE SELECT * FROM predictions WHERE model_id = m;

CREATE VIEW prediction_errors AS
SELECT
    p.structure_id, p.target, p.value AS predicted, t.value AS actual, p.value - t.value AS error, p.unit,
    p.model_id, p.n_defects, p.extrapolated, s.descriptor, s.dataset_id, s.host_id, h.material_id
FROM predictions AS p
JOIN target_values AS t USING (structure_id, target)
JOIN structures AS s USING (structure_id)
JOIN hosts AS h USING (host_id);
