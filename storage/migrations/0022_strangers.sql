-- Accounts that have nothing to do with any lab are not kept: an installation may be nobody's that we know.

ALTER TABLE installation ALTER COLUMN account_id DROP NOT NULL;
COMMENT ON COLUMN installation.account_id IS 'NULL: not kept, see storage/retention.py; the API tells it again when it is needed';

-- The App may still be installed on the account of somebody who was erased, and GitHub goes on telling of it. Nobody is
-- enrolled again by that, but by a push of their own that came later.
ALTER TABLE installation ADD COLUMN forgotten_at timestamptz;
COMMENT ON COLUMN installation.forgotten_at IS 'its account was erased then, and has not come back since';

-- Whoever decided something keeps a name in the record: cleaning asks for it.
CREATE INDEX audit_event_actor ON audit_event (actor_id) WHERE actor_id IS NOT NULL;

-- Lanes are deleted now, and may come back. Tokens must not begin anew with them: a holder of the old lane that was frozen
-- all the while would be taken for the new one's. A lane is claimed far less often than once in a microsecond.
ALTER TABLE lane ALTER COLUMN token SET DEFAULT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint;

-- Deletes those of the lanes that are idle: nothing waits in them, and nobody has them.
CREATE FUNCTION drop_idle_lanes(lanes text[]) RETURNS void LANGUAGE sql AS $$
    DELETE FROM lane WHERE lane_id = ANY (lanes) AND due_at IS NULL AND leased_until IS NULL
      AND NOT EXISTS (SELECT FROM delivery WHERE delivery.lane_id = lane.lane_id AND delivery.state = 'waiting')
$$;

-- Empties at most `most` installations of accounts that never had to do with a lab, and were not read from the API for
-- so long: what is left of each is its id and state. Whoever is invited, has or had a session or a mapping, owns a
-- template, or was told why their fork of a lab was not taken, is no stranger. Returns how many there were.
CREATE FUNCTION clean_strangers(unread_for interval, most integer) RETURNS integer LANGUAGE plpgsql AS $$
DECLARE
    strangers bigint[];
    lanes text[];
BEGIN
    strangers := ARRAY(
        SELECT i.installation_id FROM installation AS i JOIN github_account AS a USING (account_id)
        WHERE i.checked_at < now() - unread_for
          AND NOT EXISTS (SELECT FROM lab WHERE lab.base_installation_id = i.installation_id)
          AND NOT EXISTS (SELECT FROM lab
                          WHERE lower(split_part(lab.base_repo_full_name, '/', 1)) = lower(a.login))
          AND NOT EXISTS (SELECT FROM installation_repository AS r JOIN lab ON lab.base_repo_id = r.repo_id
                          WHERE r.installation_id = i.installation_id)
          AND NOT EXISTS (SELECT FROM repo_mapping AS m WHERE m.installation_id = i.installation_id)
          AND NOT EXISTS (SELECT FROM repo_mapping AS m WHERE m.owner_account_id = i.account_id)
          AND NOT EXISTS (SELECT FROM lab_session AS s WHERE s.learner_account_id = i.account_id)
          AND NOT EXISTS (SELECT FROM invitation AS v WHERE v.account_id = i.account_id)
          AND NOT EXISTS (SELECT FROM invitation AS v
                          WHERE v.account_id IS NULL AND lower(v.login) = lower(a.login))
          AND NOT EXISTS (SELECT FROM installation_repository AS r JOIN invitation AS v ON v.repo_id = r.repo_id
                          WHERE r.installation_id = i.installation_id)
          AND (i.forgotten_at IS NOT NULL OR NOT EXISTS (
              SELECT FROM audit_event AS e WHERE e.kind = 'rejected' AND e.owner_id = i.account_id))
        ORDER BY i.checked_at LIMIT most FOR UPDATE OF i SKIP LOCKED);
    IF cardinality(strangers) = 0 THEN
        RETURN 0;
    END IF;
    WITH gone AS (
        DELETE FROM installation_repository WHERE installation_id = ANY (strangers) RETURNING repo_id
    )
    SELECT array_agg('repo:' || repo_id) INTO lanes FROM gone;
    DELETE FROM delivery WHERE installation_id = ANY (strangers) AND state IN ('done', 'superseded')
      AND finished_at < now() - unread_for;
    PERFORM drop_idle_lanes(lanes || ARRAY(SELECT 'installation:' || id FROM unnest(strangers) AS id));
    UPDATE installation SET account_id = NULL, permissions = '{}', listed_at = NULL WHERE installation_id = ANY (strangers);
    RETURN cardinality(strangers);
END $$;
