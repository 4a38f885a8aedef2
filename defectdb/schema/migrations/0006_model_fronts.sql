-- The most accurate models of every total length that a run found; any of them can be put to use.
CREATE TABLE model_fronts (
    run_id BIGINT NOT NULL,
    tokens INTEGER NOT NULL CHECK (tokens > 0),
    error DOUBLE NOT NULL,
    formula_ids BIGINT[] NOT NULL,
    PRIMARY KEY (run_id, tokens)
);
