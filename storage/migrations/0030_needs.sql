-- The database says which programs are too old for it: they cannot read what newer migrations do (storage/migrate.py).
-- needs: 0000

ALTER TABLE schema_migration ADD COLUMN needs integer NOT NULL DEFAULT 0 CHECK (needs BETWEEN 0 AND number);
COMMENT ON COLUMN schema_migration.needs IS 'programs without the migration of this number do not work beside this one; 0: all do';
