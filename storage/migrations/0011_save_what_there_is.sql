-- Saving a verdict as before, without the calls that have nothing to do: most pushes overtake no other, complete no step
-- and leave no audit event of their own (0.3 of 1.3 ms).

CREATE OR REPLACE FUNCTION save_verdict(given jsonb, OUT result text, OUT attempt_id bigint, OUT epoch bigint, OUT status text)
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

    IF jsonb_array_length(given->'superseded') > 0 THEN
        PERFORM save_superseded(given, known.revision);
    END IF;
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
    IF jsonb_array_length(given->'gains') + jsonb_array_length(given->'losses') > 0 THEN
        PERFORM save_progress(known.session_id, attempt_id, given->'gains', given->'losses');
    END IF;
    known := save_session(known, given);
    IF jsonb_array_length(given->'audit') > 0 THEN
        PERFORM write_audit(given->'audit');
    END IF;
    IF given->>'report' IS NOT NULL THEN
        PERFORM want_report(given->'report');
    END IF;
    PERFORM finish_deliveries(lane_id, given->'deliveries', 'done', attempt->>'verdict', true);
    PERFORM pg_notify('session_changed', known.session_id::text);
    result := 'SAVED'; epoch := known.binding_epoch; status := known.status;
END $$;
