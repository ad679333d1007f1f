-- What was lost is found: how far GitHub's delivery log was read, what of it is missing here, and which installations and
-- heads are compared with GitHub next. All of it is shared by all replicas; none of it is needed to be right: whoever
-- loses it reads the log and looks at all heads once more.

-- One row. Deliveries are listed newest first, so the log is read downwards: news from the top to `newest_at`, and now and
-- then a sweep from the top to `horizon`, which goes on at `sweep_next` where it was broken off.
CREATE TABLE recovery_state (
    only_one              boolean PRIMARY KEY DEFAULT true CHECK (only_one),
    newest_at             timestamptz,
    horizon               timestamptz,
    swept_at              timestamptz,
    sweep_top             timestamptz,
    sweep_next            text,
    read_at               timestamptz,
    holder                text,
    leased_until          timestamptz,
    installations_due_at  timestamptz NOT NULL DEFAULT now(),
    installations_read_at timestamptz
);
INSERT INTO recovery_state DEFAULT VALUES;
COMMENT ON COLUMN recovery_state.newest_at IS 'what was delivered before was read, but for what is logged late';
COMMENT ON COLUMN recovery_state.horizon IS 'what was delivered before was read, also what was logged late';
COMMENT ON COLUMN recovery_state.sweep_top IS 'of a sweep under way: the newest entry when it began';
COMMENT ON COLUMN recovery_state.read_at IS 'when the log was last read to where it was known';

-- Entries of the log that the inbox lacks. Numbered with the inbox's entries: both are dead letters in the end.
CREATE TABLE delivery_missed (
    guid            uuid NOT NULL,
    event           text NOT NULL,
    inbox_id        bigint NOT NULL DEFAULT nextval(pg_get_serial_sequence('delivery', 'inbox_id')),
    delivery_id     bigint NOT NULL,
    action          text,
    installation_id bigint,
    repo_id         bigint,
    delivered_at    timestamptz NOT NULL,
    noted_at        timestamptz NOT NULL DEFAULT now(),
    attempts        integer NOT NULL DEFAULT 0,
    next_attempt_at timestamptz,
    given_up_at     timestamptz,
    last_error      text,
    PRIMARY KEY (guid, event),
    CONSTRAINT delivery_missed_inbox_key UNIQUE (inbox_id)
);
CREATE INDEX delivery_missed_due ON delivery_missed (delivery_id) WHERE given_up_at IS NULL;
COMMENT ON COLUMN delivery_missed.delivery_id IS 'GitHub''s number of the first attempt, which rises with the events';

-- When an installation is compared with GitHub next; a pass over many repositories goes on after `after_repo_id`.
CREATE TABLE installation_look (
    installation_id bigint PRIMARY KEY,
    due_at          timestamptz NOT NULL,
    after_repo_id   bigint NOT NULL DEFAULT 0,
    statuses        boolean NOT NULL DEFAULT false,
    statuses_at     timestamptz,
    looked_at       timestamptz
);
CREATE INDEX installation_look_due ON installation_look (due_at);
COMMENT ON COLUMN installation_look.statuses IS 'this pass looks at commit statuses as well';

-- Sessions whose branch was found at a head that we did not know: for this head the session was woken.
CREATE TABLE head_look (
    session_id uuid PRIMARY KEY REFERENCES lab_session ON DELETE CASCADE,
    woken_sha  text NOT NULL CHECK (woken_sha ~ '^[0-9a-f]{40}$'),
    woken_at   timestamptz NOT NULL DEFAULT now()
);
COMMENT ON COLUMN head_look.woken_sha IS 'zeros: the branch was not there';

-- Lets a head be judged that was found to be another one than we know. False: that was done for this head lately, and
-- nothing has come of it.
CREATE FUNCTION wake_for_head(the_session uuid, the_sha text, again_after interval) RETURNS boolean
    LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO head_look AS known (session_id, woken_sha) VALUES (the_session, the_sha)
    ON CONFLICT (session_id) DO UPDATE SET woken_sha = excluded.woken_sha, woken_at = now()
    WHERE known.woken_sha <> excluded.woken_sha OR known.woken_at < now() - again_after;
    RETURN FOUND AND wake_session(the_session, 'reconcile');
END $$;

-- As before, and what is missing of theirs is not taken from the log any more.
CREATE OR REPLACE FUNCTION forget_repositories(repos bigint[], installations bigint[], OUT reports bigint, OUT deliveries bigint)
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
    INSERT INTO delivery (inbox_id, guid, event, lane_id, received_at, state, outcome, finished_at)
    OVERRIDING SYSTEM VALUE
    SELECT inbox_id, guid, event, 'forgotten', noted_at, 'done', 'forgotten', clock_timestamp() FROM delivery_missed
    WHERE repo_id = ANY (repos) OR installation_id = ANY (installations)
    ON CONFLICT ON CONSTRAINT delivery_guid_event_key DO NOTHING;
    DELETE FROM delivery_missed WHERE repo_id = ANY (repos) OR installation_id = ANY (installations);
    DELETE FROM lane WHERE lane_id = ANY (lanes);
    PERFORM pg_notify('binding_changed', id::text) FROM unnest(repos) AS id;
END $$;

COMMENT ON TABLE delivery IS 'rows are kept as long as GitHub may send a delivery again, and some days more';
