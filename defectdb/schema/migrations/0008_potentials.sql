-- Configurations with energies and forces, from which interatomic potentials are learned. Arrays per configuration are
-- read several times as fast as a row per atom and take a fifth of the space.
CREATE TABLE configurations (
    structure_id VARCHAR PRIMARY KEY,
    dataset_id VARCHAR NOT NULL,
    material_id VARCHAR NOT NULL,
    name VARCHAR,
    config_type VARCHAR NOT NULL DEFAULT '',
    split VARCHAR NOT NULL DEFAULT '',
    n_atoms INTEGER NOT NULL CHECK (n_atoms > 0),
    source_path VARCHAR NOT NULL,
    row INTEGER NOT NULL,
    content_hash VARCHAR NOT NULL
);

CREATE TABLE atoms (
    structure_id VARCHAR PRIMARY KEY,
    cell DOUBLE[] NOT NULL CHECK (len(cell) = 9),
    numbers UTINYINT[] NOT NULL,
    positions DOUBLE[] NOT NULL CHECK (len(positions) = 3 * len(numbers)),
    forces DOUBLE[] CHECK (len(forces) = 3 * len(numbers))
);

ALTER TABLE datasets ADD COLUMN energy_zero VARCHAR;

-- A potential is a model of kind 'potential'; its formulas have a role: phi, rho or F.
ALTER TABLE formulas ADD COLUMN role VARCHAR;
ALTER TABLE models ADD COLUMN kind VARCHAR DEFAULT 'defects';

CREATE TABLE potentials (
    model_id BIGINT PRIMARY KEY,
    phi_id BIGINT NOT NULL,
    rho_id BIGINT NOT NULL,
    embedding_id BIGINT NOT NULL,
    cutoff DOUBLE NOT NULL CHECK (cutoff > 0),
    window_width DOUBLE NOT NULL CHECK (window_width > 0),
    r_min DOUBLE NOT NULL,
    density_max DOUBLE NOT NULL,
    n_constants INTEGER NOT NULL
);

CREATE TABLE potential_shifts (
    model_id BIGINT NOT NULL,
    dataset_id VARCHAR NOT NULL,
    shift DOUBLE NOT NULL,
    fitted BOOLEAN NOT NULL,
    PRIMARY KEY (model_id, dataset_id)
);

CREATE TABLE potential_errors (
    model_id BIGINT NOT NULL,
    dataset_id VARCHAR NOT NULL,
    split VARCHAR NOT NULL,
    config_type VARCHAR NOT NULL,
    n_configurations BIGINT NOT NULL,
    energy_mae DOUBLE, energy_rmse DOUBLE,
    force_mae DOUBLE, force_rmse DOUBLE,
    stress_mae DOUBLE, stress_rmse DOUBLE,
    PRIMARY KEY (model_id, dataset_id, split, config_type)
);

CREATE TABLE potential_properties (
    model_id BIGINT NOT NULL,
    property VARCHAR NOT NULL,
    value DOUBLE NOT NULL,
    unit VARCHAR NOT NULL,
    reference DOUBLE,
    source VARCHAR NOT NULL,
    PRIMARY KEY (model_id, property)
);
