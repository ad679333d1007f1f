-- People ask for the report on a head again, and others write commit statuses under our name.

ALTER TABLE outbox
    ADD COLUMN repeats        integer NOT NULL DEFAULT 0,
    ADD COLUMN asked_at       timestamptz,
    ADD COLUMN asked_by       bigint,
    ADD COLUMN restored       integer NOT NULL DEFAULT 0,
    ADD COLUMN restored_since timestamptz,
    ADD COLUMN status_over    boolean NOT NULL DEFAULT false;
COMMENT ON COLUMN outbox.repeats IS 'how often the same report was wanted as another check run; part of its external id';
COMMENT ON COLUMN outbox.asked_at IS 'when somebody had this head judged again last; asked_by: by which delivery';
COMMENT ON COLUMN outbox.restored IS 'statuses of others that were replaced within an hour from restored_since';
COMMENT ON COLUMN outbox.status_over IS 'GitHub takes no more statuses for this head and context';

-- The row of which GitHub shows the check run on a head: the one that was sent last. Locks it.
CREATE FUNCTION shown_report(the_repo bigint, the_head text) RETURNS outbox LANGUAGE sql AS $$
    SELECT * FROM outbox WHERE repo_id = the_repo AND head_sha = the_head
    ORDER BY check_run_id DESC NULLS LAST, outbox_id DESC LIMIT 1 FOR UPDATE
$$;

-- When a repeated report may be sent: the first at once, each further one twice as long after the last.
CREATE FUNCTION repeat_due(known outbox) RETURNS timestamptz LANGUAGE sql STABLE AS $$
    SELECT CASE WHEN known.repeats <= 1 THEN now()
        ELSE greatest(now(), known.updated_at + least(2 ^ least(known.repeats - 2, 20), 300) * interval '1 second') END
$$;

-- Somebody asks for the report on a head again (`the_inbox`: by this delivery). `anew`: GitHub waits for a new check run,
-- even an equal one, which is then sent after `grace`, or when `hurry_report` is called: what is judged meanwhile takes
-- its place. Returns whether the head is to be judged again: not when that was asked for within `pause` before.
CREATE FUNCTION ask_again(the_repo bigint, the_head text, the_inbox bigint, anew boolean, pause interval, grace interval)
    RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    known outbox := shown_report(the_repo, the_head);
    judged boolean := coalesce(known.asked_by = the_inbox OR known.asked_at <= now() - pause, true);
BEGIN
    IF known.outbox_id IS NULL OR known.asked_by = the_inbox THEN
        RETURN true; -- nothing was told about this head, or this is another attempt
    END IF;
    UPDATE outbox SET asked_by = the_inbox, asked_at = CASE WHEN judged THEN now() ELSE asked_at END
    WHERE outbox_id = known.outbox_id;
    -- What GitHub has is repeated under another id; what may be there is looked for first.
    UPDATE outbox SET state = 'wanted', sent_check_digest = '', last_error = NULL,
        repeats = repeats + (sent_check_digest = wanted_digest)::integer,
        attempts = (sent_check_digest <> wanted_digest)::integer,
        due_at = now() + grace
    WHERE outbox_id = known.outbox_id AND anew AND (sent_check_digest = wanted_digest OR state = 'failed');
    IF FOUND THEN
        UPDATE outbox AS o SET due_at = greatest(o.due_at, repeat_due(o)) WHERE outbox_id = known.outbox_id;
    END IF;
    RETURN judged;
END $$;

-- The judgement that a repeated report waited for has ended: it may be sent.
CREATE FUNCTION hurry_report(the_repo bigint, the_head text, the_inbox bigint) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    UPDATE outbox AS known SET due_at = repeat_due(known)
    WHERE repo_id = the_repo AND head_sha = the_head AND asked_by = the_inbox AND state = 'wanted' AND due_at > now();
    IF FOUND THEN
        PERFORM pg_notify('outbox_due', '');
    END IF;
END $$;

-- What a status under our name that somebody has set (`seen`: id, state, description, target_url) is to what we said:
-- 'unknown' (we said nothing), 'ours' (it says the same, or ours is newer), 'sending' (ours is on its way), or
-- 'foreign'.
CREATE FUNCTION status_standing(known outbox, seen jsonb) RETURNS text LANGUAGE sql STABLE AS $$
    SELECT CASE
        WHEN known.outbox_id IS NULL THEN 'unknown'
        WHEN known.status_id >= (seen->>'id')::bigint
          OR (known.status->>'state' = seen->>'state'
              AND coalesce(known.status->>'description', '') = coalesce(seen->>'description', '')
              AND coalesce(known.status->>'target_url', '') = coalesce(seen->>'target_url', '')) THEN 'ours'
        WHEN known.state = 'wanted' AND known.leased_until > now()
          AND known.wanted_status_digest NOT IN ('', known.sent_status_digest) THEN 'sending'
        ELSE 'foreign'
    END
$$;

-- Answers a foreign status: it is counted (`event`, for the audit), and ours is sent again, at most `most` times an hour
-- for each head, because GitHub takes 1,000 for a head and context. Returns the standing, or 'restored' or 'counted'.
CREATE FUNCTION contest_status(the_repo bigint, the_head text, the_name text, seen jsonb, event jsonb, most integer)
    RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    known outbox;
    standing text;
BEGIN
    SELECT * INTO known FROM outbox WHERE repo_id = the_repo AND head_sha = the_head AND name = the_name
    ORDER BY status_id DESC NULLS LAST, outbox_id DESC LIMIT 1 FOR UPDATE;
    standing := status_standing(known, seen);
    IF standing <> 'foreign' THEN
        RETURN standing;
    END IF;
    PERFORM count_rejection(event || jsonb_strip_nulls(jsonb_build_object('installation_id', known.installation_id,
        'repo_full_name', known.repo_full_name, 'session_id', nullif(known.session_id,
        '00000000-0000-0000-0000-000000000000'::uuid))));
    IF known.wanted_status_digest = '' OR known.status_over THEN
        RETURN 'counted'; -- there is nothing to say, or no way to say it
    END IF;
    IF known.sent_status_digest <> known.wanted_status_digest AND known.state = 'wanted' THEN
        RETURN 'restored'; -- by what is due anyway
    END IF;
    IF coalesce(known.restored_since <= now() - interval '1 hour', true) THEN
        known.restored := 0;
        known.restored_since := now();
    END IF;
    IF known.restored >= most THEN
        RETURN 'counted';
    END IF;
    UPDATE outbox SET state = 'wanted', sent_status_digest = '', attempts = 0, due_at = now(), last_error = NULL,
        restored = known.restored + 1, restored_since = known.restored_since
    WHERE outbox_id = known.outbox_id;
    PERFORM pg_notify('outbox_due', '');
    RETURN 'restored';
END $$;
