-- Labs that change while they run, class lists, and deadlines that pass.

-- The logins that wait for their account, found by what an account is called.
CREATE INDEX invitation_pending_login ON invitation (lower(login)) WHERE account_id IS NULL AND login IS NOT NULL;

-- The lab that a repository is invited to, when GitHub does not tell where it comes from.
CREATE INDEX invitation_repo ON invitation (repo_id) WHERE repo_id IS NOT NULL;

-- Changes who may start a lab and until when (`changes`: enrolment, deadline; what is not named stays). `also_running`:
-- the deadlines of open sessions move too, and their epoch rises, so that nobody closes one by the old deadline.
-- Returns how many moved; NULL: there is no such lab.
CREATE FUNCTION edit_lab(the_lab bigint, changes jsonb, also_running boolean, event jsonb) RETURNS bigint
    LANGUAGE plpgsql AS $$
DECLARE
    known lab;
    edited lab;
    moved jsonb := '[]';
BEGIN
    SELECT * INTO known FROM lab WHERE lab_id = the_lab FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        RETURN NULL;
    END IF;
    UPDATE lab SET enrolment = coalesce(changes->>'enrolment', enrolment),
        deadline = CASE WHEN changes ? 'deadline' THEN (changes->>'deadline')::timestamptz ELSE deadline END
    WHERE lab_id = the_lab RETURNING * INTO edited;
    IF (known.enrolment, known.deadline) IS DISTINCT FROM (edited.enrolment, edited.deadline) THEN
        PERFORM write_audit(jsonb_build_array(event || jsonb_build_object('kind', 'lab_edited', 'detail',
            event->'detail' || jsonb_build_object('lab_id', the_lab,
                'enrolment', jsonb_build_array(known.enrolment, edited.enrolment),
                'deadline', jsonb_build_array(known.deadline, edited.deadline)))));
    END IF;
    IF also_running AND changes ? 'deadline' THEN
        WITH old AS (
            SELECT session_id, expires_at FROM lab_session
            WHERE lab_id = the_lab AND status IN ('IN_PROGRESS', 'STUCK', 'DEFERRED')
              AND expires_at IS DISTINCT FROM edited.deadline
            ORDER BY session_id FOR UPDATE
        ), running AS (
            UPDATE lab_session AS s SET expires_at = edited.deadline, binding_epoch = s.binding_epoch + 1
            FROM old WHERE s.session_id = old.session_id
            RETURNING s.session_id, old.expires_at AS before, s.expires_at AS after
        )
        SELECT coalesce(jsonb_agg(event || jsonb_build_object('kind', 'deadline_moved', 'session_id', session_id,
            'detail', event->'detail' || jsonb_build_object('lab_id', the_lab,
                'deadline', jsonb_build_array(before, after)))), '[]') INTO moved FROM running;
        PERFORM write_audit(moved);
        PERFORM pg_notify('session_changed', session->>'session_id') FROM jsonb_array_elements(moved) AS session;
    END IF;
    RETURN jsonb_array_length(moved);
END $$;

-- Closes a session whose deadline has passed by the database's clock, if its status lets it. Returns whether it did.
CREATE FUNCTION expire_session(the_session uuid, event jsonb) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    known lab_session;
BEGIN
    SELECT * INTO known FROM lab_session WHERE session_id = the_session FOR UPDATE;
    IF known.expires_at IS NULL OR known.expires_at > clock_timestamp()
       OR session_may_change(known.status, known.deferred_by, 'EXPIRED', NULL) IS NOT TRUE THEN
        RETURN false;
    END IF;
    PERFORM change_session_status(the_session, known.binding_epoch, 'EXPIRED', NULL, NULL, event);
    RETURN true;
END $$;

-- What a row of a class list is to the invitations that a lab has, and the change it makes. In the order of the list:
-- `invited`   a new invitation, or one that now names the repository or the account as well
-- `already`   nothing to do
-- `repo_taken`     the repository is another account's by its invitation
-- `another_repo`   the account is invited for another repository of this lab
CREATE FUNCTION invite(the_lab bigint, account bigint, repo bigint, the_login text) RETURNS text
    LANGUAGE plpgsql AS $$
DECLARE
    known invitation;
BEGIN
    IF account IS NULL AND repo IS NULL THEN
        INSERT INTO invitation (lab_id, login) VALUES (the_lab, the_login) ON CONFLICT DO NOTHING;
        RETURN CASE WHEN FOUND THEN 'invited' ELSE 'already' END;
    END IF;
    IF repo IS NOT NULL THEN
        SELECT * INTO known FROM invitation WHERE lab_id = the_lab AND repo_id = repo;
        IF FOUND THEN
            IF account IS NULL OR known.account_id = account THEN
                RETURN 'already';
            END IF;
            IF known.account_id IS NOT NULL OR known.session_id IS NOT NULL
               OR lower(known.login) IS DISTINCT FROM lower(the_login) THEN
                RETURN 'repo_taken';
            END IF;
        END IF;
        IF EXISTS (SELECT FROM invitation WHERE lab_id = the_lab AND account_id = account AND repo_id <> repo) THEN
            RETURN 'another_repo';
        END IF;
        IF known.invitation_id IS NOT NULL THEN
            UPDATE invitation SET account_id = account, login = NULL WHERE invitation_id = known.invitation_id;
            RETURN 'invited';
        END IF;
        UPDATE invitation SET repo_id = repo
        WHERE lab_id = the_lab AND account_id = account AND repo_id IS NULL AND session_id IS NULL;
        IF FOUND THEN
            RETURN 'invited';
        END IF;
        INSERT INTO invitation (lab_id, account_id, repo_id, login)
        VALUES (the_lab, account, repo, CASE WHEN account IS NULL THEN the_login END);
        RETURN 'invited';
    END IF;
    IF EXISTS (SELECT FROM invitation WHERE lab_id = the_lab AND account_id = account) THEN
        RETURN 'already';
    END IF;
    INSERT INTO invitation (lab_id, account_id) VALUES (the_lab, account);
    RETURN 'invited';
END $$;

-- Invites a class (an array of objects account_id and kind if GitHub knows the person, login, repo_id), one list at a
-- time for each lab. Returns the outcomes in the order of the list. `pretend`: the outcomes, and nothing is written.
CREATE FUNCTION invite_all(the_lab bigint, people jsonb, event jsonb, pretend boolean) RETURNS text[]
    LANGUAGE plpgsql AS $$
DECLARE
    person record;
    outcomes text[] := '{}';
    fresh jsonb := '[]';
BEGIN
    PERFORM 1 FROM lab WHERE lab_id = the_lab FOR NO KEY UPDATE;
    -- An account that is met here takes the invitations that wait for its login, by the trigger below.
    INSERT INTO github_account AS known (account_id, login, kind)
    SELECT DISTINCT ON (account_id) account_id, login, kind
    FROM jsonb_to_recordset(people) AS p (account_id bigint, login text, kind text)
    WHERE account_id IS NOT NULL ORDER BY account_id
    ON CONFLICT (account_id) DO UPDATE SET login = excluded.login, kind = excluded.kind
    WHERE (known.login, known.kind) IS DISTINCT FROM (excluded.login, excluded.kind);
    FOR person IN
        SELECT p.* FROM ROWS FROM (jsonb_to_recordset(people) AS (account_id bigint, login text, repo_id bigint))
            WITH ORDINALITY AS p (account_id, login, repo_id, ordinal) ORDER BY p.ordinal
    LOOP
        outcomes := outcomes || invite(the_lab, person.account_id, person.repo_id, person.login);
        IF outcomes[cardinality(outcomes)] = 'invited' THEN
            fresh := fresh || jsonb_build_array(jsonb_build_array(person.account_id, person.repo_id));
        END IF;
    END LOOP;
    IF jsonb_array_length(fresh) > 0 THEN
        PERFORM write_audit(jsonb_build_array(event || jsonb_build_object('kind', 'invited', 'detail',
            event->'detail' || jsonb_build_object('lab_id', the_lab, 'accounts_and_repositories', fresh))));
    END IF;
    IF pretend THEN
        RAISE EXCEPTION USING ERRCODE = 'ST000', MESSAGE = 'only pretended';
    END IF;
    RETURN outcomes;
EXCEPTION WHEN SQLSTATE 'ST000' THEN -- everything that was written is taken back; variables keep their values
    RETURN outcomes;
END $$;

-- Takes back the invitations that no session has used (an array of objects account_id, login). Returns for each, in
-- order: `removed`, `used` (a session has begun with it: it stays), or `none`.
CREATE FUNCTION uninvite_all(the_lab bigint, people jsonb, event jsonb) RETURNS text[] LANGUAGE plpgsql AS $$
DECLARE
    person record;
    outcomes text[] := '{}';
    gone jsonb := '[]';
BEGIN
    PERFORM 1 FROM lab WHERE lab_id = the_lab FOR NO KEY UPDATE;
    FOR person IN
        SELECT p.* FROM ROWS FROM (jsonb_to_recordset(people) AS (account_id bigint, login text))
            WITH ORDINALITY AS p (account_id, login, ordinal) ORDER BY p.ordinal
    LOOP
        IF EXISTS (SELECT FROM invitation
                   WHERE lab_id = the_lab AND account_id = person.account_id AND session_id IS NOT NULL) THEN
            outcomes := outcomes || 'used'::text;
            CONTINUE;
        END IF;
        DELETE FROM invitation WHERE lab_id = the_lab AND session_id IS NULL
            AND (account_id = person.account_id OR (account_id IS NULL AND lower(login) = lower(person.login)));
        outcomes := outcomes || CASE WHEN FOUND THEN 'removed' ELSE 'none' END;
        IF outcomes[cardinality(outcomes)] = 'removed' THEN
            gone := gone || jsonb_build_array(person.account_id);
        END IF;
    END LOOP;
    IF jsonb_array_length(gone) > 0 THEN
        PERFORM write_audit(jsonb_build_array(event || jsonb_build_object('kind', 'uninvited', 'detail',
            event->'detail' || jsonb_build_object('lab_id', the_lab, 'accounts', gone))));
    END IF;
    RETURN outcomes;
END $$;

-- A person whose login somebody invited before GitHub knew it: the invitation becomes the account's. No writer of
-- accounts can forget it. Only persons learn: an organisation never takes an invitation.
CREATE FUNCTION resolve_invitations() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM invitation AS pending
    WHERE pending.account_id IS NULL AND pending.repo_id IS NULL AND lower(pending.login) = lower(NEW.login)
      AND EXISTS (SELECT FROM invitation AS known
                  WHERE known.lab_id = pending.lab_id AND known.account_id = NEW.account_id);
    UPDATE invitation SET account_id = NEW.account_id, login = NULL
    WHERE account_id IS NULL AND login IS NOT NULL AND lower(login) = lower(NEW.login);
    RETURN NULL;
END $$;
CREATE TRIGGER github_account_seen AFTER INSERT ON github_account
    FOR EACH ROW WHEN (NEW.kind = 'User') EXECUTE FUNCTION resolve_invitations();
CREATE TRIGGER github_account_renamed AFTER UPDATE OF login ON github_account
    FOR EACH ROW WHEN (NEW.kind = 'User' AND lower(NEW.login) IS DISTINCT FROM lower(OLD.login))
    EXECUTE FUNCTION resolve_invitations();
