-- Sessions, mappings and publications: several rows at once, decided under one lock, in one statement of the client.

-- Adds a mapping (an object with the columns' names) to a session and marks the invitation as used.
CREATE FUNCTION add_mapping(given jsonb) RETURNS repo_mapping LANGUAGE plpgsql AS $$
DECLARE
    added repo_mapping;
BEGIN
    INSERT INTO repo_mapping (provider_repo_id, installation_id, owner_account_id, repo_full_name, session_id, source)
    SELECT repo_id, installation_id, owner_account_id, repo_full_name, session_id, source
    FROM jsonb_to_record(given) AS mapping (repo_id bigint, installation_id bigint, owner_account_id bigint,
        repo_full_name text, session_id uuid, source text)
    RETURNING * INTO added;
    UPDATE invitation SET session_id = added.session_id
    FROM lab_session AS s
    WHERE s.session_id = added.session_id AND invitation.lab_id = s.lab_id AND invitation.session_id IS NULL
      AND (invitation.repo_id = added.provider_repo_id
           OR (invitation.repo_id IS NULL AND invitation.account_id IN (added.owner_account_id, s.learner_account_id)));
    RETURN added;
END $$;

-- An audit event about a mapping that was just made or changed.
CREATE FUNCTION audit_mapping(event jsonb, mapping repo_mapping) RETURNS void LANGUAGE sql AS $$
    SELECT write_audit(jsonb_build_array(event || jsonb_build_object(
        'session_id', mapping.session_id, 'mapping_id', mapping.mapping_id, 'repo_id', mapping.provider_repo_id,
        'repo_full_name', mapping.repo_full_name, 'installation_id', mapping.installation_id,
        'owner_id', mapping.owner_account_id)))
$$;

-- Knows accounts (an array of objects account_id, login, kind) that nothing was known of yet.
CREATE FUNCTION know_accounts(accounts jsonb) RETURNS void LANGUAGE sql AS $$
    INSERT INTO github_account (account_id, login, kind)
    SELECT DISTINCT ON (account_id) account_id, login, kind
    FROM jsonb_to_recordset(accounts) AS account (account_id bigint, login text, kind text) ORDER BY account_id
    ON CONFLICT (account_id) DO NOTHING
$$;

-- Creates a session and binds a repository to it. The unique indexes decide races.
CREATE FUNCTION create_and_bind(given jsonb, OUT mapping_id bigint, OUT epoch bigint, OUT started_at timestamptz)
    LANGUAGE plpgsql AS $$
DECLARE
    mapping repo_mapping;
BEGIN
    PERFORM know_accounts(given->'accounts');
    INSERT INTO lab_session (session_id, lab_id, lab_version_id, learner_account_id, user_id, expires_at)
    SELECT s.session_id, s.lab_id, s.lab_version_id, s.learner_account_id, s.user_id, s.expires_at
    FROM jsonb_to_record(given->'session') AS s (session_id uuid, lab_id bigint, lab_version_id bigint,
        learner_account_id bigint, user_id uuid, expires_at timestamptz);
    mapping := add_mapping(given->'mapping');
    PERFORM audit_mapping(given->'event', mapping);
    PERFORM pg_notify('session_changed', mapping.session_id::text);
    SELECT mapping.mapping_id, s.binding_epoch, s.started_at INTO mapping_id, epoch, started_at
    FROM lab_session AS s WHERE s.session_id = mapping.session_id;
END $$;

-- Binds a repository to a session that exists, if its epoch is still the expected one; else all is NULL.
CREATE FUNCTION attach_repository(given jsonb, OUT mapping_id bigint, OUT epoch bigint) LANGUAGE plpgsql AS $$
DECLARE
    mapping repo_mapping;
BEGIN
    PERFORM 1 FROM lab_session AS s
    WHERE s.session_id = (given->'mapping'->>'session_id')::uuid AND s.binding_epoch = (given->>'epoch')::bigint
    FOR UPDATE;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    PERFORM know_accounts(given->'accounts');
    mapping := add_mapping(given->'mapping');
    PERFORM audit_mapping(given->'event', mapping);
    PERFORM pg_notify('session_changed', mapping.session_id::text);
    SELECT mapping.mapping_id, s.binding_epoch INTO mapping_id, epoch
    FROM lab_session AS s WHERE s.session_id = mapping.session_id;
END $$;

-- Changes a session's status, and its deadline when one is given, if its epoch is still the expected one.
CREATE FUNCTION change_session_status(the_session uuid, expected_epoch bigint, new_status text, cause text,
    new_deadline timestamptz, event jsonb) RETURNS SETOF lab_session LANGUAGE plpgsql AS $$
DECLARE
    known lab_session;
BEGIN
    SELECT * INTO known FROM lab_session
    WHERE session_id = the_session AND binding_epoch = expected_epoch FOR UPDATE;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    RETURN QUERY UPDATE lab_session
        SET status = new_status, deferred_by = cause, expires_at = coalesce(new_deadline, expires_at)
        WHERE session_id = the_session RETURNING *;
    PERFORM write_audit(jsonb_build_array(event || jsonb_build_object('session_id', the_session, 'detail',
        event->'detail' || jsonb_build_object('from', known.status, 'to', new_status, 'cause', cause))));
    PERFORM pg_notify('session_changed', the_session::text);
END $$;

-- Ends a mapping. `forget_accepted`: the repository is gone, so what was accepted in it cannot be compared with any more.
-- The session is locked first, as everybody does, so that two writers never wait for each other.
CREATE FUNCTION revoke_mapping(the_mapping bigint, reason text, forget_accepted boolean, event jsonb)
    RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    mapping repo_mapping;
BEGIN
    PERFORM 1 FROM lab_session
    WHERE session_id = (SELECT session_id FROM repo_mapping WHERE mapping_id = the_mapping) FOR UPDATE;
    UPDATE repo_mapping SET state = 'revoked', revoked_at = now(), revoked_reason = reason
    WHERE mapping_id = the_mapping AND state = 'active'
    RETURNING * INTO mapping;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    IF forget_accepted THEN
        UPDATE lab_session SET accepted_sha = NULL, head_sha = NULL, head_rewrite = false, branch_head_seen = NULL,
            revision = revision + 1
        WHERE session_id = mapping.session_id;
    END IF;
    PERFORM audit_mapping(event, mapping);
    PERFORM pg_notify('session_changed', mapping.session_id::text);
    RETURN true;
END $$;

-- After a reinstall the mapping takes the new installation's id. Returns whether it changed.
CREATE FUNCTION take_installation(the_mapping bigint, the_installation bigint, event jsonb)
    RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    mapping repo_mapping;
BEGIN
    PERFORM 1 FROM lab_session
    WHERE session_id = (SELECT session_id FROM repo_mapping WHERE mapping_id = the_mapping) FOR UPDATE;
    UPDATE repo_mapping SET installation_id = the_installation, last_seen_at = now()
    WHERE mapping_id = the_mapping AND state = 'active' AND installation_id <> the_installation
    RETURNING * INTO mapping;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    PERFORM audit_mapping(event, mapping);
    RETURN true;
END $$;

-- Records commits of a template's branch, oldest first (an array of objects commit_sha, tree_sha); known ones stay.
CREATE FUNCTION record_template_commits(the_lab bigint, commits jsonb) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM 1 FROM lab WHERE lab_id = the_lab FOR NO KEY UPDATE;
    INSERT INTO template_commit (lab_id, commit_sha, tree_sha, ordinal)
    SELECT the_lab, fresh.commit_sha, fresh.tree_sha, coalesce(
        (SELECT max(known.ordinal) FROM template_commit AS known WHERE known.lab_id = the_lab), 0)
        + row_number() OVER (ORDER BY fresh.ordinal)
    FROM ROWS FROM (jsonb_to_recordset(commits) AS (commit_sha text, tree_sha text)) WITH ORDINALITY
        AS fresh (commit_sha, tree_sha, ordinal)
    WHERE NOT EXISTS (SELECT FROM template_commit AS known
                      WHERE known.lab_id = the_lab AND known.commit_sha = fresh.commit_sha);
END $$;

-- Publishes a version. The rules of a commit that was published, or rules that are those of the newest version, make no
-- new one: the commit is only recorded.
CREATE FUNCTION publish_lab_version(the_lab bigint, the_commit text, the_tree text, the_definition jsonb,
    the_digest text, the_title text) RETURNS lab_version LANGUAGE plpgsql AS $$
DECLARE
    newest lab_version;
    published lab_version;
BEGIN
    PERFORM record_template_commits(the_lab,
        jsonb_build_array(jsonb_build_object('commit_sha', the_commit, 'tree_sha', the_tree)));
    UPDATE lab SET title = the_title WHERE lab_id = the_lab AND title <> the_title;
    SELECT * INTO published FROM lab_version WHERE lab_id = the_lab AND commit_sha = the_commit;
    IF FOUND THEN
        RETURN published;
    END IF;
    SELECT * INTO newest FROM lab_version WHERE lab_id = the_lab ORDER BY number DESC LIMIT 1;
    IF newest.digest = the_digest THEN
        RETURN newest;
    END IF;
    INSERT INTO lab_version (lab_id, number, commit_sha, tree_sha, definition, digest)
    VALUES (the_lab, coalesce(newest.number, 0) + 1, the_commit, the_tree, the_definition, the_digest)
    RETURNING * INTO published;
    RETURN published;
END $$;
