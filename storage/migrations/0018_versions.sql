-- Versions of labs: what the last look at a template found, and sessions that move from one version to another.

-- The last look at each lab's template, for those who run the lab (an App that is not installed there can post nothing).
--   published: the rules are the lab's version; unchanged: they are those of the newest one; broken: they have errors;
--   older: a newer version is published already; unreadable: GitHub does not show them, see `detail`
CREATE TABLE template_look (
    lab_id    bigint PRIMARY KEY REFERENCES lab,
    outcome   text NOT NULL CHECK (outcome IN ('published', 'unchanged', 'older', 'broken', 'unreadable')),
    branch    text,
    head_sha  text CHECK (head_sha ~ '^[0-9a-f]{40}$'),
    problems  jsonb NOT NULL DEFAULT '[]',
    detail    text NOT NULL DEFAULT '',
    looked_at timestamptz NOT NULL DEFAULT now()
);

-- A session that moved to another version keeps the template that its learner was given: what is work, and which
-- protected files are right, is reckoned from there. NULL: from the commit of its version.
ALTER TABLE lab_session ADD COLUMN base_commit_sha text CHECK (base_commit_sha ~ '^[0-9a-f]{40}$');

-- What a session was when it moved, so that the move can be taken back. One run moves many sessions.
CREATE SEQUENCE session_migration_run AS bigint;
CREATE TABLE session_migration (
    run_id          bigint NOT NULL,
    session_id      uuid NOT NULL REFERENCES lab_session,
    from_version_id bigint NOT NULL REFERENCES lab_version,
    to_version_id   bigint NOT NULL REFERENCES lab_version,
    base_before     text,
    mapping_id      bigint,
    accepted_sha    text,
    done            text[] NOT NULL,
    migrated_at     timestamptz NOT NULL DEFAULT clock_timestamp(),
    undone_at       timestamptz,
    PRIMARY KEY (run_id, session_id)
);
CREATE INDEX session_migration_session ON session_migration (session_id, run_id) WHERE undone_at IS NULL;

-- As before, and: whoever read the template's branch earlier does not publish over what it had later.
CREATE OR REPLACE FUNCTION publish_lab_version(the_lab bigint, the_commit text, the_tree text, the_definition jsonb,
    the_digest text, the_title text) RETURNS lab_version LANGUAGE plpgsql AS $$
DECLARE
    newest lab_version;
    published lab_version;
BEGIN
    PERFORM record_template_commits(the_lab,
        jsonb_build_array(jsonb_build_object('commit_sha', the_commit, 'tree_sha', the_tree)));
    SELECT * INTO newest FROM lab_version WHERE lab_id = the_lab ORDER BY number DESC LIMIT 1;
    SELECT * INTO published FROM lab_version WHERE lab_id = the_lab AND commit_sha = the_commit;
    IF FOUND AND published.number < newest.number THEN
        RETURN published;
    END IF;
    IF (SELECT ordinal FROM template_commit WHERE lab_id = the_lab AND commit_sha = the_commit)
       < (SELECT ordinal FROM template_commit WHERE lab_id = the_lab AND commit_sha = newest.commit_sha) THEN
        RETURN newest;
    END IF;
    UPDATE lab SET title = the_title WHERE lab_id = the_lab AND title <> the_title;
    IF newest.commit_sha = the_commit OR newest.digest = the_digest THEN
        RETURN newest;
    END IF;
    INSERT INTO lab_version (lab_id, number, commit_sha, tree_sha, definition, digest)
    VALUES (the_lab, coalesce(newest.number, 0) + 1, the_commit, the_tree, the_definition, the_digest)
    RETURNING * INTO published;
    RETURN published;
END $$;

-- The session as it was when somebody decided about its version; an empty row when anything of that has changed.
--   session_id, epoch, from_version_id, accepted_sha, head_sha, done (completed steps, sorted)
CREATE FUNCTION session_as_seen(given jsonb) RETURNS lab_session LANGUAGE plpgsql AS $$
DECLARE
    known lab_session;
BEGIN
    SELECT * INTO known FROM lab_session AS s WHERE s.session_id = (given->>'session_id')::uuid FOR UPDATE;
    IF known.binding_epoch = (given->>'epoch')::bigint
       AND known.lab_version_id = (given->>'from_version_id')::bigint
       AND known.accepted_sha IS NOT DISTINCT FROM given->>'accepted_sha'
       AND known.head_sha IS NOT DISTINCT FROM given->>'head_sha'
       AND given->'done' = (SELECT coalesce(jsonb_agg(step_id ORDER BY step_id COLLATE "C"), '[]') FROM step_progress AS p
                            WHERE p.session_id = known.session_id AND state = 'completed') THEN
        RETURN known;
    END IF;
    RETURN NULL;
END $$;

-- Completes the audit event of a change of version, wakes the head, and tells open pages.
CREATE FUNCTION tell_version_changed(the_session uuid, given jsonb, OUT event_id bigint, OUT woken boolean)
    LANGUAGE plpgsql AS $$
BEGIN
    PERFORM write_audit(jsonb_build_array(given->'event' || (
        SELECT jsonb_build_object('session_id', s.session_id, 'head_sha', s.head_sha, 'mapping_id', m.mapping_id,
            'repo_id', m.provider_repo_id, 'repo_full_name', m.repo_full_name, 'installation_id', m.installation_id)
        FROM lab_session AS s LEFT JOIN repo_mapping AS m ON m.session_id = s.session_id AND m.state = 'active'
        WHERE s.session_id = the_session)));
    event_id := currval(pg_get_serial_sequence('audit_event', 'event_id'));
    woken := given->>'wake' IS NOT NULL AND wake_session(the_session, given->>'wake');
    PERFORM pg_notify('session_changed', the_session::text);
END $$;

-- Moves a session to another version of its lab: `given` as for session_as_seen, and run_id, to_version_id, event, wake.
-- Everything is NULL, with nothing written, when the session is not as it was seen.
CREATE FUNCTION migrate_session(given jsonb, OUT event_id bigint, OUT woken boolean) LANGUAGE plpgsql AS $$
DECLARE
    known lab_session := session_as_seen(given);
BEGIN
    IF known.session_id IS NULL THEN
        RETURN;
    END IF;
    INSERT INTO session_migration (run_id, session_id, from_version_id, to_version_id, base_before, mapping_id,
        accepted_sha, done)
    SELECT (given->>'run_id')::bigint, known.session_id, known.lab_version_id, (given->>'to_version_id')::bigint,
        known.base_commit_sha,
        (SELECT m.mapping_id FROM repo_mapping AS m WHERE m.session_id = known.session_id AND state = 'active'),
        known.accepted_sha, ARRAY(SELECT jsonb_array_elements_text(given->'done'));
    UPDATE lab_session AS s SET lab_version_id = (given->>'to_version_id')::bigint,
        base_commit_sha = coalesce(s.base_commit_sha,
            (SELECT v.commit_sha FROM lab_version AS v WHERE v.lab_version_id = known.lab_version_id)),
        revision = s.revision + 1, binding_epoch = s.binding_epoch + 1
    WHERE s.session_id = known.session_id;
    SELECT * INTO event_id, woken FROM tell_version_changed(known.session_id, given);
END $$;

-- Takes back what was reached since a session moved: its progress and its accepted head are those of then. In another
-- repository than then only the progress is kept, under the names of then. `renames`: {new id: old id}.
CREATE FUNCTION restore_progress(moved session_migration, renames jsonb) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    UPDATE staff_fact AS f SET step_id = renames->>f.step_id
    WHERE f.session_id = moved.session_id AND renames ? f.step_id;
    IF moved.mapping_id IS NOT DISTINCT FROM (SELECT m.mapping_id FROM repo_mapping AS m
                                              WHERE m.session_id = moved.session_id AND m.state = 'active') THEN
        UPDATE step_progress AS p SET
            state = CASE WHEN p.step_id = ANY (moved.done) THEN 'completed' ELSE 'reopened' END,
            reopened_at = CASE WHEN p.step_id = ANY (moved.done) THEN NULL ELSE now() END,
            evidence = jsonb_build_object('reason', 'MIGRATION_UNDONE', 'run_id', moved.run_id)
        WHERE p.session_id = moved.session_id AND (p.state = 'completed') <> (p.step_id = ANY (moved.done));
        UPDATE lab_session AS s SET accepted_sha = moved.accepted_sha WHERE s.session_id = moved.session_id;
    ELSE
        INSERT INTO step_progress AS p (session_id, step_id, state, completed_at, commit_sha, attempt_id, evidence)
        SELECT session_id, renames->>step_id, state, completed_at, commit_sha, attempt_id, evidence
        FROM step_progress WHERE session_id = moved.session_id AND state = 'completed' AND renames ? step_id
        ON CONFLICT (session_id, step_id) DO UPDATE SET state = 'completed' WHERE p.state = 'reopened';
    END IF;
END $$;

-- Takes a move back: `given` as for session_as_seen (from_version_id: the version it has now), and run_id, renames, status
-- (absent: as it was), event, wake. Everything is NULL, with nothing written, when the session is not as it was seen,
-- or the run's move of it is not its newest one.
CREATE FUNCTION undo_session_migration(given jsonb, OUT event_id bigint, OUT woken boolean) LANGUAGE plpgsql AS $$
DECLARE
    known lab_session := session_as_seen(given);
    moved session_migration;
BEGIN
    SELECT * INTO moved FROM session_migration AS m
    WHERE m.session_id = known.session_id AND undone_at IS NULL ORDER BY run_id DESC LIMIT 1;
    IF moved.run_id IS DISTINCT FROM (given->>'run_id')::bigint OR moved.to_version_id <> known.lab_version_id THEN
        RETURN;
    END IF;
    UPDATE session_migration SET undone_at = clock_timestamp()
    WHERE run_id = moved.run_id AND session_id = moved.session_id;
    PERFORM restore_progress(moved, given->'renames');
    UPDATE lab_session AS s SET lab_version_id = moved.from_version_id, base_commit_sha = moved.base_before,
        status = coalesce(given->>'status', s.status), revision = s.revision + 1, binding_epoch = s.binding_epoch + 1
    WHERE s.session_id = moved.session_id;
    SELECT * INTO event_id, woken FROM tell_version_changed(moved.session_id, given);
END $$;
