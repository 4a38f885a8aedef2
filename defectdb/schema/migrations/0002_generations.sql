-- n_unique held how many candidates were new, best_error a mean squared error.
ALTER TABLE generations ADD COLUMN n_new BIGINT;
ALTER TABLE generations ALTER COLUMN n_unique DROP NOT NULL;
UPDATE generations SET n_new = n_unique, n_unique = NULL;
ALTER TABLE generations RENAME COLUMN best_error TO best_mse;
ALTER TABLE generations ADD COLUMN island INTEGER;
ALTER TABLE generations ADD COLUMN reached STRUCT(complexity INTEGER, mse DOUBLE)[];
