-- What staff and learners do to a session: each action one statement, with its audit event and what it wakes.

-- Somebody asks for help: since when, in which words, and whether that is what made the session STUCK.
ALTER TABLE lab_session
    ADD COLUMN help_at timestamptz,
    ADD COLUMN help_words text,
    ADD COLUMN help_made_stuck boolean NOT NULL DEFAULT false,
    ADD CONSTRAINT lab_session_help CHECK (help_at IS NOT NULL OR (help_words IS NULL AND NOT help_made_stuck));

-- The operator's shell has no account: then nobody is named.
ALTER TABLE staff_fact ALTER COLUMN by_account DROP NOT NULL;

-- Whatever ends STUCK (an accepted push, staff, the deadline) answers the call for help.
CREATE FUNCTION end_help_with_stuck() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.status <> 'STUCK' THEN
        NEW.help_at := NULL;
        NEW.help_words := NULL;
        NEW.help_made_stuck := false;
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER lab_session_help_ends BEFORE UPDATE ON lab_session
    FOR EACH ROW WHEN (NEW.help_at IS NOT NULL) EXECUTE FUNCTION end_help_with_stuck();

-- Lets the head of a session's repository be judged again, in order with its pushes. False: no repository is bound.
-- An entry that waits and was not begun does for both; a verdict in the making does not, but is computed anew when the
-- session's epoch has changed.
CREATE FUNCTION wake_session(the_session uuid, the_trigger text) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    mapping repo_mapping;
    the_lane text;
BEGIN
    SELECT * INTO mapping FROM repo_mapping WHERE session_id = the_session AND state = 'active';
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    the_lane := 'repo:' || mapping.provider_repo_id;
    INSERT INTO delivery (guid, event, installation_id, repo_id, lane_id, payload)
    SELECT gen_random_uuid(), 'stepgate.judge', mapping.installation_id, mapping.provider_repo_id, the_lane,
        convert_to(jsonb_build_object('session_id', the_session, 'trigger', the_trigger)::text, 'UTF8')
    WHERE NOT EXISTS (SELECT FROM delivery WHERE lane_id = the_lane AND event = 'stepgate.judge'
                      AND state = 'waiting' AND attempts = 0);
    INSERT INTO lane AS known (lane_id, due_at) VALUES (the_lane, now())
    ON CONFLICT (lane_id) DO UPDATE SET due_at = least(known.due_at, excluded.due_at);
    PERFORM pg_notify('lane_due', '');
    RETURN true;
END $$;

-- Adds a staff fact; returns its id.
CREATE FUNCTION add_fact(the_session uuid, fact jsonb) RETURNS bigint LANGUAGE sql AS $$
    INSERT INTO staff_fact (session_id, kind, step_id, head_sha, until, by_account, reason)
    SELECT the_session, kind, step_id, head_sha, until, by_account, reason
    FROM jsonb_to_record(fact) AS given (kind text, step_id text, head_sha text, until timestamptz, by_account bigint,
        reason text)
    RETURNING fact_id
$$;

-- Connects a session with another repository, or with none. What was accepted in the old one cannot be compared with the
-- new one's; `accepted_sha` is given when the session goes back to a repository that it had.
CREATE FUNCTION rebind_session(known lab_session, given jsonb) RETURNS repo_mapping LANGUAGE plpgsql AS $$
DECLARE
    added repo_mapping;
BEGIN
    UPDATE repo_mapping SET state = 'revoked', revoked_at = now(), revoked_reason = given->>'reason'
    WHERE session_id = known.session_id AND state = 'active';
    UPDATE lab_session SET accepted_sha = given->>'accepted_sha', head_sha = NULL, head_rewrite = false,
        branch_head_seen = NULL, revision = revision + 1
    WHERE session_id = known.session_id;
    IF given->>'mapping' IS NOT NULL THEN
        PERFORM know_accounts(given->'accounts');
        added := add_mapping(given->'mapping');
    END IF;
    RETURN added;
END $$;

-- Does what `given` says to a session whose epoch is still the expected one; everything is NULL when it is not, or when
-- the fact to be revoked is not in force. Every action raises the epoch, so that no verdict is saved that was computed
-- before it, and of two people who decide at the same time the second one looks again.
--   session_id, epoch, event          the audit event, completed by what was before and after
--   status, cause                     the new status (absent: as it was)
--   deadline                          {"at": time or null}
--   help                              {"words", "made_stuck"}; `end_help` true: no longer needed
--   fact, revoke_fact, by             a fact to be added; the id of one to be revoked, and who does it
--   back_to                           {"steps", "accepted_sha"}: steps whose progress is taken back, and the head that
--                                     the session's work is compared with again
--   rebind                            {"reason", "accounts", "mapping", "accepted_sha"}
--   anew                              true: the same head may be judged again with the same facts
--   wake                              the trigger of a judgement
--   keep_epoch                        true: a verdict in the making stays good
CREATE FUNCTION act_on_session(given jsonb, OUT event_id bigint, OUT fact_id bigint, OUT woken boolean)
    LANGUAGE plpgsql AS $$
DECLARE
    known lab_session;
    after lab_session;
    bound repo_mapping;
    added repo_mapping;
BEGIN
    SELECT * INTO known FROM lab_session AS s
    WHERE s.session_id = (given->>'session_id')::uuid AND s.binding_epoch = (given->>'epoch')::bigint FOR UPDATE;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    IF given ? 'revoke_fact' THEN
        UPDATE staff_fact AS f SET revoked_at = now(), revoked_by = (given->>'by')::bigint
        WHERE f.fact_id = (given->>'revoke_fact')::bigint AND f.session_id = known.session_id AND revoked_at IS NULL;
        IF NOT FOUND THEN
            RETURN;
        END IF;
        fact_id := (given->>'revoke_fact')::bigint;
    END IF;
    SELECT * INTO bound FROM repo_mapping AS m WHERE m.session_id = known.session_id AND state = 'active';
    IF given ? 'rebind' THEN
        added := rebind_session(known, given->'rebind');
    END IF;
    IF given ? 'fact' THEN
        fact_id := add_fact(known.session_id, given->'fact');
    END IF;
    IF given ? 'back_to' THEN
        UPDATE step_progress AS p SET state = 'reopened', reopened_at = now(),
            evidence = jsonb_build_object('reason', 'UNDONE', 'fact_id', fact_id)
        WHERE p.session_id = known.session_id AND p.state = 'completed'
          AND p.step_id IN (SELECT jsonb_array_elements_text(given->'back_to'->'steps'));
    END IF;
    UPDATE lab_session AS s SET
        status = coalesce(given->>'status', s.status),
        deferred_by = CASE WHEN given ? 'status' THEN given->>'cause' ELSE s.deferred_by END,
        expires_at = CASE WHEN given ? 'deadline' THEN (given->'deadline'->>'at')::timestamptz ELSE s.expires_at END,
        accepted_sha = CASE WHEN given ? 'back_to' THEN given->'back_to'->>'accepted_sha' ELSE s.accepted_sha END,
        help_at = CASE WHEN given ? 'help' THEN now() WHEN given ? 'end_help' THEN NULL ELSE s.help_at END,
        help_words = CASE WHEN given ? 'help' THEN given->'help'->>'words' WHEN given ? 'end_help' THEN NULL
            ELSE s.help_words END,
        help_made_stuck = CASE WHEN given ? 'help' THEN (given->'help'->>'made_stuck')::boolean
            ELSE s.help_made_stuck AND NOT given ? 'end_help' END,
        revision = s.revision + (given ? 'anew' OR given ? 'back_to')::integer,
        binding_epoch = s.binding_epoch + (NOT given ? 'keep_epoch')::integer
    WHERE s.session_id = known.session_id RETURNING * INTO after;
    PERFORM write_audit(jsonb_build_array(given->'event' || jsonb_build_object(
        'session_id', known.session_id,
        'head_sha', coalesce(given->'fact'->>'head_sha', known.head_sha),
        'mapping_id', coalesce(added.mapping_id, bound.mapping_id),
        'repo_id', coalesce(added.provider_repo_id, bound.provider_repo_id),
        'repo_full_name', coalesce(added.repo_full_name, bound.repo_full_name),
        'installation_id', coalesce(added.installation_id, bound.installation_id),
        'detail', given->'event'->'detail'
            || jsonb_strip_nulls(jsonb_build_object('from', known.status, 'to', after.status,
                'cause_before', known.deferred_by, 'cause', after.deferred_by, 'fact_id', fact_id))
            || CASE WHEN given ? 'deadline' THEN jsonb_build_object('deadline_before', known.expires_at,
                'deadline', after.expires_at) ELSE '{}' END
            || CASE WHEN given ? 'rebind' THEN jsonb_build_object('mapping_before', bound.mapping_id,
                'repo_before', bound.repo_full_name, 'accepted_before', known.accepted_sha) ELSE '{}' END)));
    event_id := currval(pg_get_serial_sequence('audit_event', 'event_id'));
    woken := given->>'wake' IS NOT NULL AND wake_session(known.session_id, given->>'wake');
    PERFORM pg_notify('session_changed', known.session_id::text);
END $$;
