-- What a session reached, every judgement in a ledger, and the facts that a verdict may lean on beyond git.

CREATE TABLE push_attempt (
    attempt_id       bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    session_id       uuid NOT NULL REFERENCES lab_session,
    trigger          text NOT NULL CHECK (trigger IN ('push', 'rerun', 'fact', 'reconcile', 'staff')),
    delivery_id      uuid,
    ref              text NOT NULL,
    before_sha       text CHECK (before_sha ~ '^[0-9a-f]{40}$'),
    after_sha        text NOT NULL CHECK (after_sha ~ '^[0-9a-f]{40}$'),
    forced           boolean NOT NULL DEFAULT false,
    sender_id        bigint,
    lab_version_id   bigint NOT NULL REFERENCES lab_version,
    accepted_before  text CHECK (accepted_before ~ '^[0-9a-f]{40}$'),
    verdict          text NOT NULL CHECK (verdict IN ('accepted', 'blocked', 'preview', 'superseded', 'cannot_verify')),
    violations       jsonb NOT NULL DEFAULT '[]',
    violations_total integer NOT NULL DEFAULT 0,
    steps_before     jsonb NOT NULL DEFAULT '[]',
    steps_after      jsonb NOT NULL DEFAULT '[]',
    detail           jsonb NOT NULL DEFAULT '{}',
    facts_digest     text NOT NULL DEFAULT '',
    revision         bigint NOT NULL,
    created_at       timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT push_attempt_push_has_delivery CHECK (trigger <> 'push' OR delivery_id IS NOT NULL)
);
CREATE UNIQUE INDEX push_attempt_one_per_delivery ON push_attempt (session_id, delivery_id) WHERE trigger = 'push';
-- Judging the same head by the same rules and facts again is one row, unless the session moved on in between: after
-- A -> B -> A the same question has a new meaning, and its answer must be saved.
CREATE UNIQUE INDEX push_attempt_one_per_judgement
    ON push_attempt (session_id, after_sha, lab_version_id, facts_digest, revision) WHERE trigger <> 'push';
CREATE INDEX push_attempt_session ON push_attempt (session_id, attempt_id);
CREATE INDEX push_attempt_accepted ON push_attempt (session_id, attempt_id) WHERE verdict = 'accepted';
CREATE INDEX push_attempt_blocked ON push_attempt (session_id, attempt_id) INCLUDE (after_sha) WHERE verdict = 'blocked';
COMMENT ON COLUMN push_attempt.violations IS 'the first ones; violations_total counts all';
COMMENT ON COLUMN push_attempt.revision IS 'lab_session.revision that this was judged at';

CREATE TRIGGER push_attempt_append_only BEFORE UPDATE OR DELETE ON push_attempt
    FOR EACH ROW EXECUTE FUNCTION refuse_change('append_only');
CREATE TRIGGER push_attempt_append_only_truncate BEFORE TRUNCATE ON push_attempt
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change('append_only');

CREATE TABLE step_progress (
    session_id   uuid NOT NULL REFERENCES lab_session,
    step_id      text NOT NULL,
    state        text NOT NULL CHECK (state IN ('completed', 'reopened')),
    completed_at timestamptz,
    reopened_at  timestamptz,
    commit_sha   text CHECK (commit_sha ~ '^[0-9a-f]{40}$'),
    attempt_id   bigint REFERENCES push_attempt,
    evidence     jsonb NOT NULL DEFAULT '{}',
    PRIMARY KEY (session_id, step_id)
);

CREATE TABLE staff_fact (
    fact_id    bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    session_id uuid NOT NULL REFERENCES lab_session,
    kind       text NOT NULL CHECK (kind IN ('approve', 'complete', 'reopen', 'accept_head', 'unlock')),
    step_id    text,
    head_sha   text CHECK (head_sha ~ '^[0-9a-f]{40}$'),
    until      timestamptz,
    by_account bigint NOT NULL,
    reason     text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    revoked_at timestamptz,
    revoked_by bigint,
    CONSTRAINT staff_fact_subject CHECK (
        CASE kind WHEN 'accept_head' THEN head_sha IS NOT NULL AND step_id IS NULL
                  ELSE step_id IS NOT NULL AND head_sha IS NULL END)
);
CREATE INDEX staff_fact_session ON staff_fact (session_id) WHERE revoked_at IS NULL;

CREATE TABLE head_fact (
    repo_id    bigint NOT NULL,
    head_sha   text NOT NULL CHECK (head_sha ~ '^[0-9a-f]{40}$'),
    kind       text NOT NULL CHECK (kind IN ('workflow', 'check')),
    name       text NOT NULL,
    app_id     bigint NOT NULL DEFAULT 0,
    run_id     bigint NOT NULL,
    conclusion text NOT NULL,
    seen_at    timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (repo_id, head_sha, kind, name, app_id),
    CONSTRAINT head_fact_check_has_app CHECK ((kind = 'check') = (app_id > 0))
);
COMMENT ON TABLE head_fact IS 'the newest result of a workflow file or of another App''s check on exactly this head';
COMMENT ON COLUMN head_fact.name IS 'path of the workflow file, or name of the check';
