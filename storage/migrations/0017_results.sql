-- Events that tell of results (workflow runs, checks of other Apps) are kept only for repositories whose lab has a step
-- that may wait for one: that must be cheap to know, and follows from the definition, which never changes.
ALTER TABLE lab_version ADD COLUMN awaits_results boolean NOT NULL GENERATED ALWAYS AS (
    jsonb_path_exists(definition, '$.steps[*].complete.** ? (@.type == "workflow" || @.type == "check")')) STORED;
COMMENT ON COLUMN lab_version.awaits_results IS 'some step has a condition "workflow" or "check"';
