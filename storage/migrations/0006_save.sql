-- Saving a verdict or a rejection: one server-side statement each, so that no frozen client ever sits on a lock.

-- Finishes deliveries of a lane; `keep_body` false forgets their bodies at once.
CREATE FUNCTION finish_deliveries(the_lane text, ids jsonb, the_state text, the_outcome text, keep_body boolean)
    RETURNS void LANGUAGE sql AS $$
    UPDATE delivery
    SET state = the_state, outcome = the_outcome, finished_at = clock_timestamp(), last_error = NULL,
        next_attempt_at = NULL, payload = CASE WHEN keep_body THEN payload END
    WHERE inbox_id IN (SELECT value::bigint FROM jsonb_array_elements_text(ids)) AND lane_id = the_lane
      AND state = 'waiting'
$$;

-- Pushes that were overtaken while they waited: each has its ledger row and is finished.
CREATE FUNCTION save_superseded(given jsonb, the_revision bigint) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO push_attempt (session_id, trigger, delivery_id, ref, before_sha, after_sha, forced, sender_id,
        lab_version_id, accepted_before, verdict, steps_before, steps_after, revision)
    SELECT (given->'guard'->>'session_id')::uuid, 'push', delivery_id, ref, before_sha, after_sha, forced, sender_id,
        (given->'attempt'->>'lab_version_id')::bigint, given->'guard'->>'accepted_sha', 'superseded',
        given->'attempt'->'steps_before', given->'attempt'->'steps_before', the_revision
    FROM jsonb_to_recordset(given->'superseded') AS push (delivery_id uuid, ref text, before_sha text,
        after_sha text, forced boolean, sender_id bigint)
    ON CONFLICT (session_id, delivery_id) WHERE trigger = 'push' DO NOTHING;
    PERFORM finish_deliveries(given->'lane'->>'lane_id', jsonb_path_query_array(given, '$.superseded[*].inbox_id'),
        'superseded', 'superseded', true);
END $$;

-- Steps that this judgement completed or reopened. Completing a completed step again changes nothing.
CREATE FUNCTION save_progress(the_session uuid, the_attempt bigint, gains jsonb, losses jsonb)
    RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO step_progress AS known (session_id, step_id, state, completed_at, commit_sha, attempt_id, evidence)
    SELECT the_session, step_id, 'completed', now(), commit_sha, the_attempt, evidence
    FROM jsonb_to_recordset(gains) AS gain (step_id text, commit_sha text, evidence jsonb)
    ON CONFLICT (session_id, step_id) DO UPDATE SET
        state = 'completed', completed_at = now(), reopened_at = NULL, commit_sha = excluded.commit_sha,
        attempt_id = excluded.attempt_id, evidence = excluded.evidence
    WHERE known.state = 'reopened';
    UPDATE step_progress AS known
    SET state = 'reopened', reopened_at = now(), attempt_id = the_attempt, evidence = loss.evidence
    FROM jsonb_to_recordset(losses) AS loss (step_ids text[], evidence jsonb)
    WHERE known.session_id = the_session AND known.step_id = ANY (loss.step_ids) AND known.state = 'completed';
END $$;

CREATE FUNCTION save_attempt(the_session uuid, attempt jsonb, the_revision bigint) RETURNS bigint LANGUAGE sql AS $$
    INSERT INTO push_attempt (session_id, trigger, delivery_id, ref, before_sha, after_sha, forced, sender_id,
        lab_version_id, accepted_before, verdict, violations, violations_total, steps_before, steps_after, detail,
        facts_digest, revision)
    SELECT the_session, trigger, delivery_id, ref, before_sha, after_sha, forced, sender_id, lab_version_id,
        accepted_before, verdict, violations, violations_total, steps_before, steps_after, detail, facts_digest,
        the_revision
    FROM jsonb_to_record(attempt) AS given (trigger text, delivery_id uuid, ref text, before_sha text,
        after_sha text, forced boolean, sender_id bigint, lab_version_id bigint, accepted_before text, verdict text,
        violations jsonb, violations_total integer, steps_before jsonb, steps_after jsonb, detail jsonb,
        facts_digest text)
    RETURNING attempt_id
$$;

-- What the session is after the judgement. A preview says nothing about the session; a head that could not be verified
-- was seen but not judged.
CREATE FUNCTION save_session(known lab_session, given jsonb) RETURNS lab_session LANGUAGE plpgsql AS $$
DECLARE
    verdict text := given->'attempt'->>'verdict';
    head text := given->'attempt'->>'after_sha';
    pushed boolean := given->'attempt'->>'trigger' = 'push';
    moved boolean := verdict IN ('accepted', 'blocked') AND (pushed OR known.head_sha IS DISTINCT FROM head
        OR (verdict = 'accepted' AND known.accepted_sha IS DISTINCT FROM head)
        OR jsonb_array_length(given->'gains') + jsonb_array_length(given->'losses') > 0);
    saved lab_session;
BEGIN
    UPDATE lab_session SET
        accepted_sha = CASE WHEN verdict = 'accepted' THEN head ELSE accepted_sha END,
        head_sha = CASE WHEN verdict IN ('accepted', 'blocked') THEN head ELSE head_sha END,
        head_rewrite = CASE verdict WHEN 'accepted' THEN false
            WHEN 'blocked' THEN (given->'attempt'->'detail'->>'rewrite')::boolean ELSE head_rewrite END,
        branch_head_seen = CASE WHEN verdict = 'preview' THEN branch_head_seen ELSE head END,
        status = coalesce(given->>'status', status),
        revision = revision + moved::integer,
        last_activity_at = CASE WHEN pushed THEN now() ELSE last_activity_at END
    WHERE session_id = known.session_id
    RETURNING * INTO saved;
    RETURN saved;
END $$;

-- Saves a judgement, if nothing that it was computed from has changed. `result`: SAVED; or, with nothing written,
-- STALE_BINDING (mapping, epoch or status), STALE_ACCEPTED, LEASE_LOST; or DUPLICATE (the delivery has its attempt, or
-- the same head was judged alike: only the deliveries are finished).
CREATE FUNCTION save_verdict(given jsonb, OUT result text, OUT attempt_id bigint, OUT epoch bigint, OUT status text)
    LANGUAGE plpgsql AS $$
DECLARE
    lane_id text := given->'lane'->>'lane_id';
    guard jsonb := given->'guard';
    attempt jsonb := given->'attempt';
    known lab_session;
BEGIN
    SELECT * INTO known FROM lab_session AS s WHERE s.session_id = (guard->>'session_id')::uuid FOR UPDATE;
    IF NOT FOUND
       OR known.binding_epoch <> (guard->>'epoch')::bigint
       OR known.status <> guard->>'status'
       OR NOT EXISTS (SELECT FROM repo_mapping AS m WHERE m.mapping_id = (guard->>'mapping_id')::bigint
                      AND m.session_id = known.session_id AND m.state = 'active') THEN
        result := 'STALE_BINDING';
        RETURN;
    END IF;
    IF known.accepted_sha IS DISTINCT FROM guard->>'accepted_sha' THEN
        result := 'STALE_ACCEPTED';
        RETURN;
    END IF;
    IF NOT holds_lane(lane_id, (given->'lane'->>'token')::bigint) THEN
        result := 'LEASE_LOST';
        RETURN;
    END IF;

    PERFORM save_superseded(given, known.revision);
    SELECT p.attempt_id INTO attempt_id FROM push_attempt AS p
    WHERE p.session_id = known.session_id AND p.trigger = 'push' AND attempt->>'trigger' = 'push'
      AND p.delivery_id = (attempt->>'delivery_id')::uuid
    UNION ALL
    SELECT p.attempt_id FROM push_attempt AS p
    WHERE p.session_id = known.session_id AND p.trigger <> 'push' AND attempt->>'trigger' <> 'push'
      AND p.after_sha = attempt->>'after_sha' AND p.lab_version_id = (attempt->>'lab_version_id')::bigint
      AND p.facts_digest = attempt->>'facts_digest' AND p.revision = known.revision;
    IF FOUND THEN
        PERFORM finish_deliveries(lane_id, given->'deliveries', 'done', 'duplicate', true);
        result := 'DUPLICATE'; epoch := known.binding_epoch; status := known.status;
        RETURN;
    END IF;

    attempt_id := save_attempt(known.session_id, attempt, known.revision);
    PERFORM save_progress(known.session_id, attempt_id, given->'gains', given->'losses');
    known := save_session(known, given);
    PERFORM write_audit(given->'audit');
    IF given->>'report' IS NOT NULL THEN
        PERFORM want_report(given->'report');
    END IF;
    PERFORM finish_deliveries(lane_id, given->'deliveries', 'done', attempt->>'verdict', true);
    PERFORM pg_notify('session_changed', known.session_id::text);
    result := 'SAVED'; epoch := known.binding_epoch; status := known.status;
END $$;

-- Saves that a delivery is not judged: counts the rejection, wants a report if there is something to say, finishes the
-- deliveries. `result`: SAVED, or LEASE_LOST with nothing written.
CREATE FUNCTION save_rejection(given jsonb, OUT result text, OUT event_id bigint) LANGUAGE plpgsql AS $$
DECLARE
    lane_id text := given->'lane'->>'lane_id';
BEGIN
    IF NOT holds_lane(lane_id, (given->'lane'->>'token')::bigint) THEN
        result := 'LEASE_LOST';
        RETURN;
    END IF;
    event_id := count_rejection(given->'event');
    IF given->>'report' IS NOT NULL THEN
        PERFORM want_report(given->'report');
    END IF;
    PERFORM finish_deliveries(lane_id, given->'deliveries', 'done', given->'event'->>'code',
        (given->>'keep_body')::boolean);
    IF given->'event'->>'session_id' IS NOT NULL THEN
        PERFORM pg_notify('session_changed', given->'event'->>'session_id');
    END IF;
    result := 'SAVED';
END $$;
