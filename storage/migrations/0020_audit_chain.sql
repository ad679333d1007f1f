-- The audit is sealed: batches of its rows are hashed into a chain (rules/audit_chain.py says how), so that a row that is
-- changed, removed or put in later is found. Names can still be forgotten: what is hashed of them is a salted digest, and
-- the salts are kept apart.

CREATE TABLE audit_seal (
    batch          bigint PRIMARY KEY CHECK (batch > 0),
    last_event_id  bigint NOT NULL,
    event_ids      bigint[] NOT NULL CHECK (cardinality(event_ids) > 0),
    row_hashes     bytea NOT NULL,
    name_hashes    bytea NOT NULL,
    previous_root  bytea NOT NULL CHECK (octet_length(previous_root) = 32),
    root           bytea NOT NULL CHECK (octet_length(root) = 32),
    sealed_at      timestamptz NOT NULL,
    archived_at    timestamptz,
    archive_name   text,
    CONSTRAINT audit_seal_last_event_key UNIQUE (last_event_id),
    CONSTRAINT audit_seal_root_key UNIQUE (root),
    CONSTRAINT audit_seal_last_event CHECK (last_event_id = event_ids[cardinality(event_ids)]),
    CONSTRAINT audit_seal_hashes CHECK (octet_length(row_hashes) = 32 * cardinality(event_ids)
        AND octet_length(name_hashes) = 32 * cardinality(event_ids)),
    CONSTRAINT audit_seal_archive CHECK ((archived_at IS NULL) = (archive_name IS NULL))
);
COMMENT ON COLUMN audit_seal.row_hashes IS '32 bytes for each of event_ids: SHA-256 of the row';
COMMENT ON COLUMN audit_seal.archived_at IS 'its rows were written to the file archive_name and removed here';

CREATE TABLE audit_seal_salt (
    batch bigint PRIMARY KEY REFERENCES audit_seal,
    salts bytea NOT NULL
);
COMMENT ON COLUMN audit_seal_salt.salts IS '16 bytes for each of the batch''s rows; zeros once the row''s names are forgotten';

-- What one function may do that nobody else does: '' (nobody), 'forget' or 'archive'. This, and what a superuser can do
-- (ALTER TABLE ... DISABLE TRIGGER, session_replication_role), is not stopped by triggers; the chain finds it.
CREATE FUNCTION audit_door() RETURNS text LANGUAGE sql STABLE AS $$
    SELECT coalesce(current_setting('stepgate.audit_door', true), '')
$$;

DROP TRIGGER audit_event_append_only ON audit_event;
CREATE TRIGGER audit_event_append_only BEFORE UPDATE ON audit_event FOR EACH ROW
    WHEN (NOT (audit_door() = 'forget'
        AND to_jsonb(OLD) - ARRAY['repo_full_name', 'ref', 'detail'] = to_jsonb(NEW) - ARRAY['repo_full_name', 'ref', 'detail']))
    EXECUTE FUNCTION refuse_change('append_only');
CREATE TRIGGER audit_event_append_only_delete BEFORE DELETE ON audit_event FOR EACH ROW
    WHEN (audit_door() <> 'archive') EXECUTE FUNCTION refuse_change('append_only');

CREATE TRIGGER audit_seal_append_only BEFORE UPDATE ON audit_seal FOR EACH ROW
    WHEN (NOT (audit_door() = 'archive' AND OLD.archived_at IS NULL
        AND to_jsonb(OLD) - ARRAY['archived_at', 'archive_name'] = to_jsonb(NEW) - ARRAY['archived_at', 'archive_name']))
    EXECUTE FUNCTION refuse_change('append_only');
CREATE TRIGGER audit_seal_append_only_delete BEFORE DELETE ON audit_seal
    FOR EACH ROW EXECUTE FUNCTION refuse_change('append_only');
CREATE TRIGGER audit_seal_append_only_truncate BEFORE TRUNCATE ON audit_seal
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change('append_only');

CREATE TRIGGER audit_seal_salt_append_only BEFORE UPDATE ON audit_seal_salt FOR EACH ROW
    WHEN (audit_door() <> 'forget') EXECUTE FUNCTION refuse_change('append_only');
CREATE TRIGGER audit_seal_salt_append_only_delete BEFORE DELETE ON audit_seal_salt FOR EACH ROW
    WHEN (audit_door() <> 'archive') EXECUTE FUNCTION refuse_change('append_only');
CREATE TRIGGER audit_seal_salt_append_only_truncate BEFORE TRUNCATE ON audit_seal_salt
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change('append_only');

-- Keys of audit_event.detail that hold words or names (as rules.audit_chain.NAME_KEYS; a test compares them).
CREATE FUNCTION audit_name_keys() RETURNS text[] LANGUAGE sql IMMUTABLE AS $$
    SELECT ARRAY['detail', 'reason', 'repo_before', 'words']
$$;

-- Takes the names out of all audit rows about a person: the names of their repositories and branches, and what was
-- written about their sessions. Ids stay. Returns how many rows it changed. To be called before the rows by which they
-- are found (lab_session, repo_mapping, github_account) are removed. No batch is sealed until the transaction ends.
CREATE FUNCTION forget_audit_names(the_account bigint) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    the_login text := (SELECT lower(login) FROM github_account WHERE account_id = the_account);
    forgotten bigint[];
    sealed record;
    place integer;
    left_salts bytea;
BEGIN
    LOCK TABLE audit_seal IN SHARE ROW EXCLUSIVE MODE;
    PERFORM set_config('stepgate.audit_door', 'forget', true);
    WITH changed AS (
        UPDATE audit_event AS e SET repo_full_name = NULL, ref = NULL, detail = e.detail - audit_name_keys()
        WHERE (e.owner_id = the_account
               OR e.session_id IN (SELECT session_id FROM lab_session WHERE learner_account_id = the_account)
               OR e.repo_id IN (SELECT provider_repo_id FROM repo_mapping WHERE owner_account_id = the_account)
               OR lower(split_part(e.repo_full_name, '/', 1)) = the_login
               OR lower(split_part(e.detail->>'repo_before', '/', 1)) = the_login)
          AND (e.repo_full_name IS NOT NULL OR e.ref IS NOT NULL OR e.detail ?| audit_name_keys())
        RETURNING e.event_id
    )
    SELECT coalesce(array_agg(event_id), '{}') INTO forgotten FROM changed;
    FOR sealed IN
        SELECT s.batch, salt.salts, array_agg(array_position(s.event_ids, theirs.event_id)) AS places
        FROM unnest(forgotten) AS theirs (event_id)
        CROSS JOIN LATERAL (SELECT * FROM audit_seal WHERE last_event_id >= theirs.event_id
                            ORDER BY last_event_id LIMIT 1) AS s
        JOIN audit_seal_salt AS salt ON salt.batch = s.batch
        WHERE theirs.event_id = ANY (s.event_ids) GROUP BY s.batch, salt.salts
    LOOP
        left_salts := sealed.salts;
        FOREACH place IN ARRAY sealed.places LOOP
            left_salts := overlay(left_salts PLACING decode(repeat('00', 16), 'hex') FROM (place - 1) * 16 + 1);
        END LOOP;
        UPDATE audit_seal_salt SET salts = left_salts WHERE batch = sealed.batch;
    END LOOP;
    PERFORM set_config('stepgate.audit_door', '', true);
    RETURN cardinality(forgotten);
END $$;
