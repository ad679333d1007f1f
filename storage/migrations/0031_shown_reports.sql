-- What GitHub shows on a head is the check run that was posted there last. So what may have been posted is not forgotten
-- when something else is wanted, and of several sessions' reports on one head only the newest is sent. And the audit
-- tells of statuses that verdicts changed.
-- needs: 0000

-- As before (0005), and besides:
-- - Something else may have been posted since the last report that is known as sent: then an equal one is none of "sent".
--   It is posted anew, as another run, and what was tried is looked for before it is posted (`attempts`).
-- - What waits follows its repository to another installation, and to another name.
-- - Another session's report on this head is left off, and needs to be sent anew if it is wanted again. While somebody
--   has that in hand, this one waits, so that it is the last.
CREATE OR REPLACE FUNCTION want_report(report jsonb) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    given outbox := jsonb_populate_record(NULL::outbox, report);
    nil constant uuid := '00000000-0000-0000-0000-000000000000';
    the_session uuid := coalesce(given.session_id, nil);
BEGIN
    IF given.weak AND EXISTS (
        SELECT FROM outbox AS other
        WHERE other.repo_id = given.repo_id AND other.head_sha = given.head_sha AND other.name = given.name
          AND (NOT other.weak OR (given.conclusion = 'neutral' AND other.conclusion <> 'neutral'))
    ) THEN
        RETURN false;
    END IF;
    INSERT INTO outbox AS known (repo_id, head_sha, session_id, name, installation_id, repo_full_name, check_run,
        status, conclusion, weak, wanted_digest, wanted_status_digest)
    VALUES (given.repo_id, given.head_sha, the_session, given.name, given.installation_id,
        given.repo_full_name, given.check_run, given.status, given.conclusion, given.weak,
        given.wanted_digest, given.wanted_status_digest)
    ON CONFLICT ON CONSTRAINT outbox_key DO UPDATE SET
        installation_id = excluded.installation_id, repo_full_name = excluded.repo_full_name,
        check_run = excluded.check_run, status = excluded.status, conclusion = excluded.conclusion,
        weak = excluded.weak, wanted_digest = excluded.wanted_digest,
        wanted_status_digest = excluded.wanted_status_digest, attempts = least(known.attempts, 1),
        repeats = known.repeats + (known.attempts > 0 AND known.wanted_digest <> known.sent_check_digest
            AND excluded.wanted_digest = known.sent_check_digest)::integer,
        sent_check_digest = CASE WHEN known.attempts > 0 AND known.wanted_digest <> known.sent_check_digest
            THEN '' ELSE known.sent_check_digest END,
        sent_status_digest = CASE WHEN known.attempts > 0
            AND known.wanted_status_digest NOT IN ('', known.sent_status_digest)
            THEN '' ELSE known.sent_status_digest END,
        state = CASE WHEN excluded.wanted_digest = known.sent_check_digest
            AND (known.attempts = 0 OR known.wanted_digest = known.sent_check_digest)
            AND (excluded.wanted_status_digest = '' OR (excluded.wanted_status_digest = known.sent_status_digest
                AND (known.attempts = 0 OR known.wanted_status_digest IN ('', known.sent_status_digest))))
            THEN 'sent' ELSE 'wanted' END,
        due_at = clock_timestamp(), last_error = NULL, updated_at = clock_timestamp()
    WHERE (known.weak OR NOT excluded.weak)
      AND ((known.wanted_digest, known.wanted_status_digest, known.weak, known.state = 'failed')
          IS DISTINCT FROM (excluded.wanted_digest, excluded.wanted_status_digest, excluded.weak, false)
        OR (known.state = 'wanted' AND (known.installation_id, known.repo_full_name)
          IS DISTINCT FROM (excluded.installation_id, excluded.repo_full_name)));
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    IF EXISTS (SELECT FROM outbox WHERE repo_id = given.repo_id AND head_sha = given.head_sha AND name = given.name
               AND session_id <> the_session AND wanted_digest <> '') THEN
        WITH left_off AS (
            UPDATE outbox AS other SET state = 'sent', wanted_digest = '', wanted_status_digest = '',
                sent_check_digest = '', sent_status_digest = '', repeats = repeats + 1, token = token + 1, attempts = 0,
                last_error = NULL, updated_at = clock_timestamp()
            WHERE other.repo_id = given.repo_id AND other.head_sha = given.head_sha AND other.name = given.name
              AND other.session_id <> the_session AND other.wanted_digest <> ''
            RETURNING other.leased_until
        )
        UPDATE outbox SET due_at = greatest(due_at, (SELECT max(leased_until) FROM left_off))
        WHERE repo_id = given.repo_id AND head_sha = given.head_sha AND session_id = the_session AND name = given.name;
    END IF;
    PERFORM pg_notify('outbox_due', '');
    RETURN true;
END $$;
COMMENT ON COLUMN outbox.wanted_digest IS 'of the report that is wanted; empty: another session has its report on this head';

-- As before (0026), but a report that was left off is not the one that is shown.
CREATE OR REPLACE FUNCTION shown_report(the_repo bigint, the_head text) RETURNS outbox LANGUAGE sql AS $$
    SELECT * FROM outbox WHERE repo_id = the_repo AND head_sha = the_head AND wanted_digest <> ''
    ORDER BY check_run_id DESC NULLS LAST, outbox_id DESC LIMIT 1 FOR UPDATE
$$;

-- As before (0019), and besides: what is in hand just now is due again if it is refused, because that may be about how
-- things were before; what waits under another installation is sent under this one; and what may have been posted is
-- looked for first.
CREATE OR REPLACE FUNCTION send_again(the_repo bigint) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    UPDATE outbox AS o SET state = 'wanted', attempts = least(o.attempts, 1), due_at = clock_timestamp(),
        installation_id = m.installation_id, repo_full_name = m.repo_full_name, updated_at = clock_timestamp()
    FROM repo_mapping AS m JOIN lab_session AS s USING (session_id)
    WHERE m.provider_repo_id = the_repo AND m.state = 'active' AND o.repo_id = the_repo
      AND o.head_sha IN (s.head_sha, s.branch_head_seen)
      AND (o.state = 'failed' OR (o.state = 'wanted'
          AND (o.leased_until > clock_timestamp() OR o.installation_id <> m.installation_id)));
    IF FOUND THEN
        PERFORM pg_notify('outbox_due', '');
    END IF;
END $$;

-- As before (0011), and a status that the verdict changed is in the audit.
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
    IF known.status <> guard->>'status' THEN
        PERFORM write_audit(jsonb_agg(jsonb_strip_nulls(jsonb_build_object('kind', 'judged',
            'session_id', known.session_id, 'mapping_id', m.mapping_id, 'repo_id', m.provider_repo_id,
            'repo_full_name', m.repo_full_name, 'owner_id', m.owner_account_id, 'installation_id', m.installation_id,
            'ref', attempt->>'ref', 'head_sha', attempt->>'after_sha', 'sender_id', (attempt->>'sender_id')::bigint,
            'delivery_id', attempt->>'delivery_id', 'detail', jsonb_build_object('from', guard->>'status',
            'to', known.status, 'attempt_id', attempt_id))))) FROM repo_mapping AS m
        WHERE m.mapping_id = (guard->>'mapping_id')::bigint;
    END IF;
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
