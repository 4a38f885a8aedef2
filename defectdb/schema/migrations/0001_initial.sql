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
    content_hash VARCHAR NOT NULL
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
    x DOUBLE NOT NULL, y DOUBLE NOT NULL, z DOUBLE NOT NULL
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
    r_min DOUBLE NOT NULL,
    r_max DOUBLE NOT NULL,
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
    aggregator VARCHAR NOT NULL CHECK (aggregator IN ('sum', 'min', 'max')),
    images VARCHAR NOT NULL CHECK (images IN ('nearest', 'sum')),
    trained_on VARCHAR NOT NULL,
    n_train BIGINT NOT NULL,
    mae_train DOUBLE,
    mae_cv DOUBLE,
    interval_90 DOUBLE,
    status VARCHAR NOT NULL CHECK (status IN ('candidate', 'active', 'retired', 'stale')),
    created_at TIMESTAMP NOT NULL
);

-- "order" 0 is the host offset, 1 a one-defect term, 2 a pair kernel, 3 a three-body term.
CREATE TABLE model_terms (
    model_id BIGINT NOT NULL,
    "order" INTEGER NOT NULL CHECK ("order" BETWEEN 0 AND 3),
    label VARCHAR NOT NULL,
    formula_id BIGINT,
    value DOUBLE,
    CHECK ((formula_id IS NULL) <> (value IS NULL)),
    PRIMARY KEY (model_id, "order", label)
);

-- Every lattice translation that can bring an image into a cutoff of at most eight cell widths.
CREATE VIEW image_offsets AS
SELECT CAST(a.i AS INTEGER) AS image_a, CAST(b.i AS INTEGER) AS image_b, CAST(0 AS INTEGER) AS image_c
FROM range(-8, 9) AS a (i), range(-8, 9) AS b (i);

-- Every periodic image of every pair within its dataset's cutoff, derived from the minimum-image vector
-- and the host lattice: cheaper to compute than to store (see benchmarks).
CREATE VIEW distances AS
WITH images AS (
    SELECT
        p.pair_id, p.structure_id, p.label, o.image_a, o.image_b, o.image_c,
        p.dx_min + o.image_a * h.a_x + o.image_b * h.b_x AS dx,
        p.dy_min + o.image_a * h.a_y + o.image_b * h.b_y AS dy,
        p.dz AS dz,
        d.cutoff AS cutoff
    FROM pairs AS p
    JOIN structures AS s USING (structure_id)
    JOIN datasets AS d USING (dataset_id)
    JOIN hosts AS h USING (host_id)
    CROSS JOIN image_offsets AS o
)
SELECT
    pair_id, structure_id, label, image_a, image_b, image_c,
    sqrt(dx * dx + dy * dy + dz * dz) AS distance,
    dx, dy, dz
FROM images
WHERE dx * dx + dy * dy + dz * dz <= cutoff * cutoff;
