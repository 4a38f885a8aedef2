-- Searches leave the file to others while they work: a run may fail without the process that would say so.
ALTER TABLE runs ADD COLUMN reason VARCHAR;
