-- What GitHub shall show. Level-triggered: a row holds the wanted report; whatever differs from the sent one is sent.

CREATE TABLE outbox (
    outbox_id            bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    repo_id              bigint NOT NULL,
    head_sha             text NOT NULL CHECK (head_sha ~ '^[0-9a-f]{40}$'),
    session_id           uuid NOT NULL DEFAULT '00000000-0000-0000-0000-000000000000',
    name                 text NOT NULL,
    installation_id      bigint NOT NULL,
    repo_full_name       text NOT NULL,
    check_run            jsonb NOT NULL,
    status               jsonb,
    conclusion           text NOT NULL CHECK (conclusion IN ('success', 'failure', 'neutral', 'action_required')),
    weak                 boolean NOT NULL DEFAULT false,
    wanted_digest        text NOT NULL,
    wanted_status_digest text NOT NULL DEFAULT '',
    sent_check_digest    text NOT NULL DEFAULT '',
    sent_status_digest   text NOT NULL DEFAULT '',
    sent_status_state    text NOT NULL DEFAULT '',
    check_run_id         bigint,
    status_id            bigint,
    state                text NOT NULL DEFAULT 'wanted' CHECK (state IN ('wanted', 'sent', 'failed')),
    attempts             integer NOT NULL DEFAULT 0,
    due_at               timestamptz NOT NULL DEFAULT now(),
    holder               text,
    token                bigint NOT NULL DEFAULT 0,
    leased_until         timestamptz,
    last_error           text,
    created_at           timestamptz NOT NULL DEFAULT now(),
    updated_at           timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT outbox_key UNIQUE (repo_id, head_sha, session_id, name)
) WITH (autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_threshold = 500);
-- Failures are told before successes, and the longest due first.
CREATE INDEX outbox_due ON outbox ((conclusion IN ('success', 'neutral')), due_at) WHERE state = 'wanted';
CREATE INDEX outbox_failed ON outbox (outbox_id) WHERE state = 'failed';
COMMENT ON COLUMN outbox.weak IS 'a preview or a neutral word: never takes the place of a verdict on the same head';
COMMENT ON COLUMN outbox.sent_check_digest IS 'wanted_digest of the check run that GitHub has; empty: none yet';

-- Wants a report (an object with the columns' names). Nothing changes when it is wanted already, or when it is weaker
-- than what the head carries: neutral counts as passing for GitHub, so it never covers anything else. Returns whether
-- there is something to send.
CREATE FUNCTION want_report(report jsonb) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    given outbox := jsonb_populate_record(NULL::outbox, report);
    nil constant uuid := '00000000-0000-0000-0000-000000000000';
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
    VALUES (given.repo_id, given.head_sha, coalesce(given.session_id, nil), given.name, given.installation_id,
        given.repo_full_name, given.check_run, given.status, given.conclusion, given.weak,
        given.wanted_digest, given.wanted_status_digest)
    ON CONFLICT ON CONSTRAINT outbox_key DO UPDATE SET
        installation_id = excluded.installation_id, repo_full_name = excluded.repo_full_name,
        check_run = excluded.check_run, status = excluded.status, conclusion = excluded.conclusion,
        weak = excluded.weak, wanted_digest = excluded.wanted_digest,
        wanted_status_digest = excluded.wanted_status_digest, attempts = 0,
        state = CASE WHEN excluded.wanted_digest = known.sent_check_digest
            AND excluded.wanted_status_digest IN ('', known.sent_status_digest) THEN 'sent' ELSE 'wanted' END,
        due_at = clock_timestamp(), last_error = NULL, updated_at = clock_timestamp()
    WHERE (known.weak OR NOT excluded.weak)
      AND (known.wanted_digest, known.wanted_status_digest, known.weak, known.state = 'failed')
          IS DISTINCT FROM (excluded.wanted_digest, excluded.wanted_status_digest, excluded.weak, false);
    IF FOUND THEN
        PERFORM pg_notify('outbox_due', '');
    END IF;
    RETURN FOUND;
END $$;
