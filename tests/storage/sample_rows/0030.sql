-- Programs that have 0001 work beside all of it; the table's rows are the runner's own.
UPDATE schema_migration SET needs = 1 WHERE number = 1;
