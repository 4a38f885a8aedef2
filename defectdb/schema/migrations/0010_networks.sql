-- Graph networks of the defects: weights are bytes in the safetensors layout, nothing that could be run.
CREATE TABLE networks (
    network_id BIGINT PRIMARY KEY,
    run_id BIGINT NOT NULL,
    target VARCHAR NOT NULL,
    version INTEGER NOT NULL CHECK (version > 0),
    materials VARCHAR[] NOT NULL,
    hosts VARCHAR[] NOT NULL,
    learned_on VARCHAR NOT NULL CHECK (learned_on IN ('values', 'residuals')),
    model_ids BIGINT[] NOT NULL,
    recipe VARCHAR NOT NULL,
    architecture VARCHAR NOT NULL,
    baseline VARCHAR NOT NULL,
    n_members INTEGER NOT NULL CHECK (n_members > 0),
    n_parameters BIGINT NOT NULL CHECK (n_parameters > 0),
    n_train BIGINT NOT NULL,
    n_defects_min INTEGER NOT NULL,
    n_defects_max INTEGER NOT NULL,
    data_hash VARCHAR NOT NULL,
    seed BIGINT NOT NULL,
    seconds DOUBLE NOT NULL,
    mae_train DOUBLE,
    mae_held DOUBLE,
    weights BLOB NOT NULL,
    status VARCHAR NOT NULL CHECK (status IN ('candidate', 'active', 'retired', 'stale')),
    created_at TIMESTAMP NOT NULL
);

CREATE TABLE network_predictions (
    network_id BIGINT NOT NULL,
    structure_id VARCHAR NOT NULL,
    target VARCHAR NOT NULL,
    value DOUBLE NOT NULL,
    unit VARCHAR NOT NULL,
    spread DOUBLE,
    n_defects INTEGER NOT NULL,
    extrapolated BOOLEAN NOT NULL,
    trained BOOLEAN NOT NULL
);
