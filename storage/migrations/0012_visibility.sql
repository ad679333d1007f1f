-- Whether a session's repository is private: then people who are not signed in see nothing of it.

-- Unknown counts as private, also what code of before this migration adds.
ALTER TABLE repo_mapping ADD COLUMN private boolean NOT NULL DEFAULT true;

-- As before, with `private` of what is given.
CREATE OR REPLACE FUNCTION add_mapping(given jsonb) RETURNS repo_mapping LANGUAGE plpgsql AS $$
DECLARE
    added repo_mapping;
BEGIN
    INSERT INTO repo_mapping (provider_repo_id, installation_id, owner_account_id, repo_full_name, session_id, source,
        private)
    SELECT repo_id, installation_id, owner_account_id, repo_full_name, session_id, source, coalesce(private, true)
    FROM jsonb_to_record(given) AS mapping (repo_id bigint, installation_id bigint, owner_account_id bigint,
        repo_full_name text, session_id uuid, source text, private boolean)
    RETURNING * INTO added;
    UPDATE invitation SET session_id = added.session_id
    FROM lab_session AS s
    WHERE s.session_id = added.session_id AND invitation.lab_id = s.lab_id AND invitation.session_id IS NULL
      AND (invitation.repo_id = added.provider_repo_id
           OR (invitation.repo_id IS NULL AND invitation.account_id IN (added.owner_account_id, s.learner_account_id)));
    RETURN added;
END $$;

-- Takes over what GitHub says of a bound repository now. Returns whether anything was written.
CREATE FUNCTION see_repository(the_repo bigint, the_name text, is_private boolean) RETURNS boolean
    LANGUAGE plpgsql AS $$
DECLARE
    known repo_mapping;
BEGIN
    SELECT * INTO known FROM repo_mapping
    WHERE provider = 'github' AND provider_repo_id = the_repo AND state = 'active';
    IF NOT FOUND OR (known.repo_full_name = the_name AND known.private = is_private
                     AND known.last_seen_at > now() - interval '1 hour') THEN
        RETURN false;
    END IF;
    UPDATE repo_mapping SET repo_full_name = the_name, private = is_private, last_seen_at = now()
    WHERE mapping_id = known.mapping_id AND state = 'active';
    IF known.private <> is_private THEN
        PERFORM pg_notify('binding_changed', the_repo::text);
        PERFORM pg_notify('session_changed', known.session_id::text);
    END IF;
    RETURN true;
END $$;
