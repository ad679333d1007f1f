-- Where each session stands, as the class page sorts and filters by it. All of it can be computed from the ledger and
-- from progress; it is kept because a page that sorts by it would have to compute it for every session of the class.
-- Triggers keep it, so that no writer can forget, old code included. One row of a narrow table is changed in place per
-- judgement (no index but the key, and room on each page).

CREATE TABLE session_standing (
    session_id       uuid PRIMARY KEY REFERENCES lab_session ON DELETE CASCADE,
    attempt_id       bigint,
    pushed_at        timestamptz,
    accepted_attempt bigint NOT NULL DEFAULT 0,
    blocked_in_row   integer NOT NULL DEFAULT 0,
    waits            boolean NOT NULL DEFAULT false,
    waits_for_staff  boolean NOT NULL DEFAULT false,
    steps_done       integer NOT NULL DEFAULT 0,
    steps_total      integer NOT NULL DEFAULT 0,
    current_step     text
) WITH (fillfactor = 70);
COMMENT ON COLUMN session_standing.attempt_id IS 'the newest judgement of the lab''s branch';
COMMENT ON COLUMN session_standing.pushed_at IS 'the newest push to any branch';
COMMENT ON COLUMN session_standing.accepted_attempt IS 'the newest accepted judgement; 0: none';
COMMENT ON COLUMN session_standing.blocked_in_row IS 'distinct blocked heads since then, as STUCK counts them';
COMMENT ON COLUMN session_standing.waits IS 'a step lacks nothing but a workflow, a check or staff';
COMMENT ON COLUMN session_standing.steps_done IS 'required ones, of steps_total';
COMMENT ON COLUMN session_standing.current_step IS 'the first required step that is not complete, an open one before a locked one';

-- The steps of some sessions, counted anew.
CREATE FUNCTION refresh_standing_steps(sessions uuid[]) RETURNS void LANGUAGE sql AS $$
    INSERT INTO session_standing AS known (session_id, steps_done, steps_total, current_step)
    SELECT s.session_id, counted.done, counted.total, counted.current
    FROM lab_session AS s JOIN lab_version AS v USING (lab_version_id)
    CROSS JOIN LATERAL (
        SELECT coalesce(array_agg(step->>'id'), '{}') AS ids
        FROM jsonb_array_elements(v.definition->'steps') AS step
        WHERE EXISTS (SELECT FROM step_progress AS p WHERE p.session_id = s.session_id AND p.state = 'completed'
                      AND (p.step_id = step->>'id' OR step->'aliases' ? p.step_id))) AS complete
    CROSS JOIN LATERAL (
        SELECT count(*) AS total, count(*) FILTER (WHERE step->>'id' = ANY (complete.ids)) AS done,
            (array_agg(step->>'id' ORDER BY EXISTS (SELECT FROM jsonb_array_elements_text(step->'needs') AS need
                                                    WHERE need <> ALL (complete.ids)), ordinal)
             FILTER (WHERE step->>'id' <> ALL (complete.ids)))[1] AS current
        FROM jsonb_array_elements(v.definition->'steps') WITH ORDINALITY AS listed (step, ordinal)
        WHERE NOT coalesce((step->>'optional')::boolean, false)) AS counted
    WHERE s.session_id = ANY (sessions)
    ON CONFLICT (session_id) DO UPDATE SET
        steps_done = excluded.steps_done, steps_total = excluded.steps_total, current_step = excluded.current_step
    WHERE (known.steps_done, known.steps_total, known.current_step)
        IS DISTINCT FROM (excluded.steps_done, excluded.steps_total, excluded.current_step)
$$;

CREATE FUNCTION keep_standing_of_session() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM refresh_standing_steps(ARRAY[NEW.session_id]);
    RETURN NULL;
END $$;
CREATE TRIGGER lab_session_standing_begins AFTER INSERT ON lab_session
    FOR EACH ROW EXECUTE FUNCTION keep_standing_of_session();
CREATE TRIGGER lab_session_standing_by_version AFTER UPDATE OF lab_version_id ON lab_session
    FOR EACH ROW WHEN (NEW.lab_version_id <> OLD.lab_version_id) EXECUTE FUNCTION keep_standing_of_session();

CREATE FUNCTION keep_standing_steps() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM refresh_standing_steps(array_agg(DISTINCT session_id)) FROM changed HAVING count(*) > 0;
    RETURN NULL;
END $$;
CREATE TRIGGER step_progress_standing_gains AFTER INSERT ON step_progress
    REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION keep_standing_steps();
CREATE TRIGGER step_progress_standing_changes AFTER UPDATE ON step_progress
    REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION keep_standing_steps();
CREATE TRIGGER step_progress_standing_losses AFTER DELETE ON step_progress
    REFERENCING OLD TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION keep_standing_steps();

-- What a row of the ledger makes of the standing. A preview and an overtaken push only tell that somebody pushed; a
-- judgement that was not possible leaves the row of blocked heads as it was.
CREATE FUNCTION keep_standing_of_attempt() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE session_standing AS known SET
        pushed_at = CASE WHEN NEW.trigger = 'push' THEN NEW.created_at ELSE known.pushed_at END,
        attempt_id = CASE WHEN NEW.verdict IN ('accepted', 'blocked', 'cannot_verify') THEN NEW.attempt_id
            ELSE known.attempt_id END,
        accepted_attempt = CASE NEW.verdict WHEN 'accepted' THEN NEW.attempt_id ELSE known.accepted_attempt END,
        blocked_in_row = CASE
            WHEN NEW.verdict = 'accepted' THEN 0
            WHEN NEW.verdict = 'blocked' AND NOT EXISTS (
                SELECT FROM push_attempt AS p WHERE p.session_id = NEW.session_id AND p.after_sha = NEW.after_sha
                  AND p.verdict = 'blocked' AND p.attempt_id > known.accepted_attempt
                  AND p.attempt_id < NEW.attempt_id) THEN known.blocked_in_row + 1
            ELSE known.blocked_in_row END,
        waits = CASE WHEN NEW.verdict IN ('accepted', 'blocked')
            THEN coalesce(NEW.detail->'waiting', '{}') <> '{}' ELSE known.waits END,
        waits_for_staff = CASE WHEN NEW.verdict IN ('accepted', 'blocked')
            THEN coalesce((NEW.detail->>'awaits_staff')::boolean, false)
            ELSE known.waits_for_staff END
    WHERE known.session_id = NEW.session_id;
    RETURN NULL;
END $$;
CREATE TRIGGER push_attempt_standing AFTER INSERT ON push_attempt
    FOR EACH ROW EXECUTE FUNCTION keep_standing_of_attempt();

-- The sessions that are there: from the ledger, by its indexes.
SELECT refresh_standing_steps(array_agg(session_id)) FROM lab_session HAVING count(*) > 0;
UPDATE session_standing AS known SET
    pushed_at = (SELECT created_at FROM push_attempt WHERE session_id = known.session_id AND trigger = 'push'
                 ORDER BY attempt_id DESC LIMIT 1),
    attempt_id = (SELECT attempt_id FROM push_attempt WHERE session_id = known.session_id
                  AND verdict IN ('accepted', 'blocked', 'cannot_verify') ORDER BY attempt_id DESC LIMIT 1),
    accepted_attempt = accepted.attempt_id,
    blocked_in_row = (SELECT count(DISTINCT after_sha) FROM push_attempt WHERE session_id = known.session_id
                      AND verdict = 'blocked' AND attempt_id > accepted.attempt_id)
FROM (SELECT s.session_id, coalesce((SELECT max(attempt_id) FROM push_attempt AS p
      WHERE p.session_id = s.session_id AND p.verdict = 'accepted'), 0) AS attempt_id FROM lab_session AS s) AS accepted
WHERE accepted.session_id = known.session_id;
