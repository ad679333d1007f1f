-- Erasing a person (`app.py learner forget`): one statement, in which nothing of them is left behind or comes back.

-- The ledger is never changed, but for this. The setting is one of the transaction, and only forget_account makes it.
CREATE OR REPLACE TRIGGER push_attempt_append_only BEFORE UPDATE OR DELETE ON push_attempt
    FOR EACH ROW WHEN (current_setting('stepgate.forgets', true) IS DISTINCT FROM 'yes')
    EXECUTE FUNCTION refuse_change('append_only');

-- A session begins only under the lease of its repository's lane: whoever was processing a push of a person who was
-- erased meanwhile has lost the lane, and cannot begin it anew. The lane stays locked until the commit, so that the
-- person cannot be erased in between.
CREATE FUNCTION enrol_under_lease() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM 1 FROM lane
    WHERE lane_id = 'repo:' || NEW.provider_repo_id AND leased_until > clock_timestamp() FOR KEY SHARE;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'nobody holds the lane of repository %', NEW.provider_repo_id
            USING ERRCODE = 'restrict_violation', CONSTRAINT = 'repo_mapping_enrols_under_lease', TABLE = TG_TABLE_NAME;
    END IF;
    UPDATE installation SET forgotten_at = NULL
    WHERE installation_id = NEW.installation_id AND forgotten_at IS NOT NULL;
    RETURN NEW;
END $$;
CREATE TRIGGER repo_mapping_enrols_under_lease BEFORE INSERT ON repo_mapping
    FOR EACH ROW WHEN (NEW.source = 'enrolment') EXECUTE FUNCTION enrol_under_lease();

-- The account that owns the repository of a stored body; NULL when the body does not say.
CREATE FUNCTION owner_in_body(body bytea) RETURNS bigint LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
    RETURN (convert_from(body, 'UTF8')::jsonb #>> '{repository,owner,id}')::bigint;
EXCEPTION WHEN data_exception THEN -- no text, no JSON, or no number
    RETURN NULL;
END $$;

-- The repositories that are an account's, or were for a session of its own. One that changed hands, and is in use by
-- somebody else now, is that person's.
CREATE FUNCTION repositories_of(the_account bigint) RETURNS bigint[] LANGUAGE sql STABLE AS $$
    SELECT coalesce(array_agg(repo_id ORDER BY repo_id), '{}') FROM ((
        SELECT provider_repo_id AS repo_id FROM repo_mapping JOIN lab_session USING (session_id)
        WHERE owner_account_id = the_account OR learner_account_id = the_account
        UNION SELECT repo_id FROM installation_repository JOIN installation USING (installation_id)
        WHERE account_id = the_account
        UNION SELECT repo_id FROM invitation WHERE account_id = the_account AND repo_id IS NOT NULL
        UNION SELECT repo_id FROM audit_event WHERE owner_id = the_account AND repo_id IS NOT NULL
        UNION SELECT repo_id FROM delivery
        WHERE state = 'waiting' AND repo_id IS NOT NULL AND owner_in_body(payload) = the_account
    ) EXCEPT
        SELECT provider_repo_id FROM repo_mapping AS m JOIN lab_session USING (session_id)
        WHERE m.state = 'active' AND owner_account_id <> the_account AND learner_account_id <> the_account) AS theirs
$$;

-- Deletes the sessions with all that hangs on them. Returns how many attempts that were.
CREATE FUNCTION delete_sessions(sessions uuid[]) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    attempts bigint;
BEGIN
    DELETE FROM step_progress WHERE session_id = ANY (sessions);
    DELETE FROM session_migration WHERE session_id = ANY (sessions);
    DELETE FROM staff_fact WHERE session_id = ANY (sessions);
    DELETE FROM push_attempt WHERE session_id = ANY (sessions);
    GET DIAGNOSTICS attempts = ROW_COUNT;
    DELETE FROM invitation WHERE session_id = ANY (sessions);
    DELETE FROM repo_mapping WHERE session_id = ANY (sessions);
    DELETE FROM lab_session WHERE session_id = ANY (sessions); -- and session_standing with it
    PERFORM pg_notify('session_changed', session_id::text) FROM unnest(sessions) AS session_id;
    RETURN attempts;
END $$;

-- What hangs on repositories and installations without any session: reports, results, deliveries, lanes. Deliveries keep
-- their number, so that none is processed twice; whoever has one in hand has lost its lane.
CREATE FUNCTION forget_repositories(repos bigint[], installations bigint[], OUT reports bigint, OUT deliveries bigint)
    LANGUAGE plpgsql AS $$
DECLARE
    lanes text[] := ARRAY(SELECT 'repo:' || id FROM unnest(repos) AS id
                          UNION ALL SELECT 'installation:' || id FROM unnest(installations) AS id);
BEGIN
    DELETE FROM outbox WHERE repo_id = ANY (repos);
    GET DIAGNOSTICS reports = ROW_COUNT;
    DELETE FROM head_fact WHERE repo_id = ANY (repos);
    DELETE FROM installation_repository WHERE repo_id = ANY (repos) OR installation_id = ANY (installations);
    PERFORM 1 FROM lane WHERE lane_id = ANY (lanes) ORDER BY lane_id FOR UPDATE;
    UPDATE delivery SET payload = NULL, headers = '{}', repo_id = NULL, installation_id = NULL, lane_id = 'forgotten',
        last_error = NULL, next_attempt_at = NULL, state = CASE state WHEN 'waiting' THEN 'done' ELSE state END,
        outcome = CASE state WHEN 'waiting' THEN 'forgotten' ELSE outcome END,
        finished_at = coalesce(finished_at, clock_timestamp())
    WHERE repo_id = ANY (repos) OR installation_id = ANY (installations) OR lane_id = ANY (lanes);
    GET DIAGNOSTICS deliveries = ROW_COUNT;
    DELETE FROM lane WHERE lane_id = ANY (lanes);
    PERFORM pg_notify('binding_changed', id::text) FROM unnest(repos) AS id;
END $$;

-- Erases a person. `the_login`: as last seen, or as it was invited (then the account may be NULL). `event`: the audit
-- event, completed here; none is written when nothing was stored. Returns how much was erased. `pretend`: how much would
-- be, and nothing is written.
--
-- Rows are locked as everybody locks them: sessions, account, installations, their repositories, lanes. A session that is
-- just beginning holds the account's row, so that the list of sessions is final once that row has been got.
CREATE FUNCTION forget_account(the_account bigint, the_login text, event jsonb, pretend boolean) RETURNS jsonb
    LANGUAGE plpgsql AS $$
DECLARE
    sessions uuid[];
    repos bigint[];
    installations bigint[];
    lost record;
    by_lab jsonb;
    counts jsonb;
    touched bigint;
BEGIN
    FOR tries IN 1..2 LOOP
        PERFORM 1 FROM lab_session AS s WHERE learner_account_id = the_account OR EXISTS (
            SELECT FROM repo_mapping AS m
            WHERE m.session_id = s.session_id AND m.owner_account_id = the_account AND m.state = 'active')
        ORDER BY session_id FOR UPDATE;
        PERFORM 1 FROM github_account WHERE account_id = the_account FOR UPDATE;
    END LOOP;
    PERFORM 1 FROM installation WHERE account_id = the_account ORDER BY installation_id FOR UPDATE;
    sessions := ARRAY(SELECT session_id FROM lab_session WHERE learner_account_id = the_account);
    repos := repositories_of(the_account);
    installations := ARRAY(SELECT installation_id FROM installation WHERE account_id = the_account);
    SELECT coalesce(jsonb_agg(jsonb_build_array(lab_id, status, n) ORDER BY lab_id, status), '[]') INTO by_lab
    FROM (SELECT lab_id, status, count(*) AS n FROM lab_session WHERE session_id = ANY (sessions)
          GROUP BY lab_id, status) AS counted;
    PERFORM set_config('stepgate.forgets', 'yes', true);

    -- Another person's session in a repository of this account's keeps its progress and loses the repository.
    FOR lost IN SELECT mapping_id FROM repo_mapping
                WHERE owner_account_id = the_account AND session_id <> ALL (sessions) AND state = 'active' LOOP
        PERFORM revoke_mapping(lost.mapping_id, 'its owner was forgotten', true,
                               '{"kind": "unbound", "code": "OWNER_FORGOTTEN"}');
    END LOOP;
    PERFORM forget_audit_names(the_account);
    DELETE FROM repo_mapping WHERE owner_account_id = the_account AND session_id <> ALL (sessions);

    DELETE FROM invitation WHERE account_id = the_account OR session_id = ANY (sessions) OR repo_id = ANY (repos)
        OR (account_id IS NULL AND lower(login) = lower(the_login));
    GET DIAGNOSTICS touched = ROW_COUNT;
    counts := jsonb_build_object('invitations', touched, 'sessions', cardinality(sessions),
        'attempts', delete_sessions(sessions), 'repositories', cardinality(repos),
        'installations', cardinality(installations));
    counts := counts || (SELECT to_jsonb(erased) FROM forget_repositories(repos, installations) AS erased);
    UPDATE installation SET account_id = NULL, permissions = '{}', listed_at = NULL, checked_at = clock_timestamp(),
        forgotten_at = clock_timestamp()
    WHERE account_id = the_account;
    UPDATE push_attempt SET sender_id = NULL WHERE sender_id = the_account;
    UPDATE rejection_count SET senders = array_remove(senders, the_account) WHERE senders @> ARRAY[the_account];
    DELETE FROM github_account WHERE account_id = the_account;
    GET DIAGNOSTICS touched = ROW_COUNT;
    counts := counts || jsonb_build_object('accounts', touched);

    PERFORM set_config('stepgate.forgets', '', true);
    -- The repositories of the audit stay listed there, by their numbers: they are no reason for a second event.
    IF EXISTS (SELECT FROM jsonb_each_text(counts - 'repositories') WHERE value::bigint > 0) THEN
        PERFORM write_audit(jsonb_build_array(event || jsonb_build_object('kind', 'learner_forgotten',
            'owner_id', the_account, 'detail', jsonb_build_object('sessions', by_lab))));
    END IF;
    IF pretend THEN
        RAISE EXCEPTION USING ERRCODE = 'ST000', MESSAGE = 'only pretended';
    END IF;
    RETURN counts;
EXCEPTION WHEN SQLSTATE 'ST000' THEN -- everything that was written is taken back; variables keep their values
    RETURN counts;
END $$;
