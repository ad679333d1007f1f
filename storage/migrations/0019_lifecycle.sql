-- Sessions follow their repositories: whose repository the App cannot reach is deferred, and goes on when it is back.
--
-- Which repositories an installation covers is stored exactly, also of one that covers all of its account's. Each reading
-- of the API names the time of the reading that it found; one that somebody else's has overtaken is refused and made
-- again, so that an old answer never replaces a newer one.
--
-- Locks are taken in this order: sessions, installation, its repositories, deliveries and lanes. Nobody waits in a circle.

ALTER TABLE installation ADD COLUMN listed_at timestamptz;
COMMENT ON COLUMN installation.listed_at IS 'when all its repositories were listed last; checked_at: or anything of it read';

ALTER TABLE installation_repository ADD COLUMN look boolean NOT NULL DEFAULT false;
COMMENT ON COLUMN installation_repository.look IS 'its head is to be looked at: see take_looks';
CREATE INDEX installation_repository_look ON installation_repository (installation_id, repo_id) WHERE look;
CREATE INDEX delivery_binding ON delivery (installation_id) WHERE state = 'waiting' AND event = 'stepgate.bind';

-- "All" was taken as each of them so far. What is bound was covered then.
INSERT INTO installation_repository (installation_id, repo_id, repo_full_name)
SELECT m.installation_id, m.provider_repo_id, m.repo_full_name
FROM repo_mapping AS m JOIN installation AS i USING (installation_id)
WHERE m.state = 'active' AND i.repository_selection = 'all' AND i.state <> 'deleted'
ON CONFLICT DO NOTHING;
DELETE FROM installation_repository USING installation AS i
WHERE i.installation_id = installation_repository.installation_id AND i.state = 'deleted';

-- Why a mapped repository cannot be reached; NULL: it can. `told`: what was seen of the repository itself, if anything.
-- rules/lifecycle.py says the same, and a test compares them.
CREATE FUNCTION away_because(installation_state text, covered boolean, told text) RETURNS text
    LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT CASE
        WHEN installation_state = 'deleted' THEN 'INSTALLATION_DELETED'
        WHEN installation_state = 'suspended' THEN 'INSTALLATION_SUSPENDED'
        WHEN NOT covered THEN coalesce(told, 'REPO_NOT_SELECTED')
    END
$$;

-- Lets the installation's lane hand out the repositories that are to be looked at. An entry that was not begun does for
-- all; it is locked, so that it does not begin before what it is to find is there.
CREATE FUNCTION want_looks(the_installation bigint) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    the_lane text := 'installation:' || the_installation;
BEGIN
    INSERT INTO lane AS known (lane_id, due_at) VALUES (the_lane, now())
    ON CONFLICT (lane_id) DO UPDATE SET due_at = least(known.due_at, excluded.due_at);
    PERFORM 1 FROM delivery
    WHERE lane_id = the_lane AND event = 'stepgate.look' AND state = 'waiting' AND attempts = 0 FOR SHARE;
    IF NOT FOUND THEN
        INSERT INTO delivery (guid, event, installation_id, lane_id, payload)
        VALUES (gen_random_uuid(), 'stepgate.look', the_installation, the_lane,
            convert_to(jsonb_build_object('installation_id', the_installation)::text, 'UTF8'));
    END IF;
    PERFORM pg_notify('lane_due', '');
END $$;

-- Puts entries for at most `most` repositories of an installation into their lanes, fewer while earlier ones wait: a
-- large installation must not stand before everybody's pushes. Those that wait for GitHub's limits count (that is no
-- attempt), those that fail again and again do not. Returns whether more are left.
CREATE FUNCTION take_looks(the_installation bigint, most integer) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    busy integer := (SELECT count(*) FROM delivery
        WHERE installation_id = the_installation AND event = 'stepgate.bind' AND state = 'waiting' AND attempts < 2);
BEGIN
    WITH chosen AS (
        SELECT repo_id FROM installation_repository WHERE installation_id = the_installation AND look
        ORDER BY repo_id LIMIT greatest(0, most - busy) FOR UPDATE SKIP LOCKED
    ), taken AS (
        UPDATE installation_repository AS r SET look = false FROM chosen
        WHERE r.installation_id = the_installation AND r.repo_id = chosen.repo_id RETURNING r.repo_id
    ), entered AS (
        INSERT INTO delivery (guid, event, installation_id, repo_id, lane_id, payload)
        SELECT gen_random_uuid(), 'stepgate.bind', the_installation, repo_id, 'repo:' || repo_id,
            convert_to(jsonb_build_object('installation_id', the_installation)::text, 'UTF8')
        FROM taken RETURNING lane_id
    )
    INSERT INTO lane AS known (lane_id, due_at) SELECT lane_id, now() FROM entered ORDER BY lane_id
    ON CONFLICT (lane_id) DO UPDATE SET due_at = least(known.due_at, excluded.due_at);
    PERFORM pg_notify('lane_due', '') WHERE FOUND;
    RETURN EXISTS (SELECT FROM installation_repository WHERE installation_id = the_installation AND look);
END $$;

-- Lets what GitHub refused of the reports on the newest head of a bound repository be sent once more: it was archived, or
-- the App was away.
CREATE FUNCTION send_again(the_repo bigint) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    UPDATE outbox AS o SET state = 'wanted', attempts = 0, due_at = now(), installation_id = m.installation_id,
        repo_full_name = m.repo_full_name, updated_at = now()
    FROM repo_mapping AS m JOIN lab_session AS s USING (session_id)
    WHERE m.provider_repo_id = the_repo AND m.state = 'active' AND o.repo_id = the_repo
      AND o.head_sha IN (s.head_sha, s.branch_head_seen) AND o.state = 'failed';
    IF FOUND THEN
        PERFORM pg_notify('outbox_due', '');
    END IF;
END $$;

-- Defers the open sessions whose repositories, mapped under this installation, cannot be reached, and resumes those that
-- were deferred for that and can be again; their heads are looked at, and reports on them that failed are sent. Staff's
-- deferrals, and sessions that are over, stay as they are. `only_session`: of this one only; `told`: repository id ->
-- why it is not covered, if that is known better. Returns how many changed.
CREATE FUNCTION settle_sessions(the_installation bigint, only_session uuid, told jsonb) RETURNS integer
    LANGUAGE plpgsql AS $$
DECLARE
    locked uuid[];
    one record;
    cause text;
    changed integer := 0;
    back bigint[] := '{}';
BEGIN
    locked := ARRAY(
        SELECT s.session_id FROM lab_session AS s JOIN repo_mapping AS m USING (session_id)
        WHERE m.installation_id = the_installation AND m.state = 'active'
          AND (only_session IS NULL OR s.session_id = only_session)
          AND (s.status IN ('IN_PROGRESS', 'STUCK') OR s.deferred_by = 'installation')
        ORDER BY s.session_id FOR UPDATE OF s);
    IF cardinality(locked) = 0 THEN
        RETURN 0;
    END IF;
    -- Who stores a reading waits for those who have settled by the old one, and settles after them.
    PERFORM 1 FROM installation WHERE installation_id = the_installation FOR SHARE;
    FOR one IN
        SELECT s.session_id, s.lab_id, s.learner_account_id, s.status, s.deferred_by, s.head_sha, m.mapping_id,
            m.provider_repo_id, m.repo_full_name, m.owner_account_id, i.state AS installation_state,
            r.repo_id IS NOT NULL AS covered
        FROM lab_session AS s
        JOIN repo_mapping AS m ON m.session_id = s.session_id AND m.state = 'active'
        JOIN installation AS i USING (installation_id)
        LEFT JOIN installation_repository AS r
            ON r.installation_id = m.installation_id AND r.repo_id = m.provider_repo_id
        WHERE s.session_id = ANY (locked) AND m.installation_id = the_installation
        ORDER BY m.provider_repo_id
    LOOP
        cause := away_because(one.installation_state, one.covered, told->>one.provider_repo_id::text);
        -- To go on is not possible beside another open session of the lab: that one is what the learner does now.
        CONTINUE WHEN (cause IS NULL) = (one.deferred_by IS NULL) OR (cause IS NULL AND EXISTS (
            SELECT FROM lab_session AS other WHERE other.lab_id = one.lab_id
              AND other.learner_account_id = one.learner_account_id AND other.status IN ('IN_PROGRESS', 'STUCK')));
        UPDATE lab_session SET status = CASE WHEN cause IS NULL THEN 'IN_PROGRESS' ELSE 'DEFERRED' END,
            deferred_by = CASE WHEN cause IS NOT NULL THEN 'installation' END
        WHERE session_id = one.session_id;
        PERFORM write_audit(jsonb_build_array(jsonb_build_object(
            'kind', 'status_changed', 'code', cause, 'installation_id', the_installation,
            'repo_id', one.provider_repo_id, 'repo_full_name', one.repo_full_name, 'owner_id', one.owner_account_id,
            'mapping_id', one.mapping_id, 'session_id', one.session_id, 'head_sha', one.head_sha,
            'detail', jsonb_build_object(
                'reason', CASE WHEN cause IS NULL THEN 'the repository can be reached again'
                    ELSE 'the repository cannot be reached' END,
                'from', one.status, 'to', CASE WHEN cause IS NULL THEN 'IN_PROGRESS' ELSE 'DEFERRED' END,
                'cause', CASE WHEN cause IS NOT NULL THEN 'installation' END))));
        PERFORM pg_notify('session_changed', one.session_id::text);
        changed := changed + 1;
        IF cause IS NULL THEN
            back := back || one.provider_repo_id;
            PERFORM send_again(one.provider_repo_id);
        END IF;
    END LOOP;
    IF cardinality(back) > 0 THEN
        UPDATE installation_repository SET look = true
        WHERE installation_id = the_installation AND repo_id = ANY (back);
        PERFORM want_looks(the_installation);
    END IF;
    RETURN changed;
END $$;

-- A session that somebody opens, or that gets another repository or installation, may be one that cannot be reached just
-- then. That is looked at when the transaction ends, so that the audit tells it after what led to it.
CREATE FUNCTION settle_opened_session() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM settle_sessions(installation_id, NEW.session_id, '{}')
    FROM repo_mapping WHERE session_id = NEW.session_id AND state = 'active';
    RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER lab_session_opened AFTER UPDATE ON lab_session DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW WHEN (NEW.status IN ('IN_PROGRESS', 'STUCK') AND OLD.status NOT IN ('IN_PROGRESS', 'STUCK'))
    EXECUTE FUNCTION settle_opened_session();

-- Who maps a repository on purpose, or under an installation that covers all, has seen it: it is covered since then.
CREATE FUNCTION settle_mapped_session() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE installation AS i SET checked_at = clock_timestamp()
    WHERE i.installation_id = NEW.installation_id AND i.state = 'active'
      AND (i.repository_selection = 'all' OR NEW.source NOT IN ('event', 'enrolment'))
      AND NOT EXISTS (SELECT FROM installation_repository AS r
                      WHERE r.installation_id = i.installation_id AND r.repo_id = NEW.provider_repo_id);
    IF FOUND THEN
        INSERT INTO installation_repository (installation_id, repo_id, repo_full_name)
        VALUES (NEW.installation_id, NEW.provider_repo_id, NEW.repo_full_name) ON CONFLICT DO NOTHING;
    END IF;
    PERFORM settle_sessions(NEW.installation_id, NEW.session_id, '{}');
    RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER repo_mapping_added_settles AFTER INSERT ON repo_mapping DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW WHEN (NEW.state = 'active') EXECUTE FUNCTION settle_mapped_session();
CREATE CONSTRAINT TRIGGER repo_mapping_moved_settles AFTER UPDATE ON repo_mapping DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW WHEN (NEW.state = 'active' AND NEW.installation_id <> OLD.installation_id)
    EXECUTE FUNCTION settle_mapped_session();

-- Stores an installation as the API told it (an object with the columns' names, and `account`), and the repositories that
-- it covers (an array of objects repo_id, full_name, look; NULL: they could not be listed, and stay). False: what was
-- found before asking (`expected`: its checked_at, NULL: unknown) is not the last word any more; nothing is written.
-- One that was deleted stays deleted: GitHub never uses an id again.
CREATE FUNCTION store_installation(given jsonb, expected timestamptz, repositories jsonb) RETURNS boolean
    LANGUAGE plpgsql AS $$
DECLARE
    the_id bigint := (given->>'installation_id')::bigint;
    the_account bigint := (given->'account'->>'account_id')::bigint;
    known installation;
BEGIN
    INSERT INTO github_account AS a (account_id, login, kind)
    VALUES (the_account, given->'account'->>'login', given->'account'->>'kind')
    ON CONFLICT (account_id) DO UPDATE SET login = excluded.login, kind = excluded.kind, last_seen_at = now()
    WHERE (a.login, a.kind) IS DISTINCT FROM (excluded.login, excluded.kind)
       OR a.last_seen_at < now() - interval '1 hour';
    SELECT * INTO known FROM installation WHERE installation_id = the_id FOR NO KEY UPDATE;
    IF known.checked_at IS DISTINCT FROM expected THEN
        RETURN false;
    ELSIF known.state = 'deleted' THEN
        RETURN true;
    ELSIF known.installation_id IS NULL THEN
        INSERT INTO installation (installation_id, account_id, repository_selection, permissions, state)
        VALUES (the_id, the_account, given->>'repository_selection', given->'permissions', given->>'state')
        ON CONFLICT (installation_id) DO NOTHING;
        IF NOT FOUND THEN
            RETURN false; -- somebody was first
        END IF;
    END IF;
    UPDATE installation SET account_id = the_account, repository_selection = given->>'repository_selection',
        permissions = given->'permissions', state = given->>'state', checked_at = clock_timestamp(),
        listed_at = CASE WHEN repositories IS NULL THEN listed_at ELSE clock_timestamp() END
    WHERE installation_id = the_id;
    IF repositories IS NOT NULL THEN
        PERFORM store_coverage(the_id, repositories);
    END IF;
    RETURN true;
END $$;

-- Whether a repository that an installation covers since now is to be looked at: in any case if its session was under
-- another installation, or if somebody is invited for it. One that is mapped under this one is settled with its session.
CREATE FUNCTION is_to_be_looked_at(the_installation bigint, the_repo bigint, hint boolean) RETURNS boolean
    LANGUAGE sql STABLE AS $$
    SELECT CASE WHEN m.installation_id IS NOT NULL THEN m.installation_id <> the_installation
        ELSE hint OR EXISTS (SELECT FROM invitation WHERE repo_id = the_repo) END
    FROM (SELECT) AS always
    LEFT JOIN repo_mapping AS m ON m.provider = 'github' AND m.provider_repo_id = the_repo AND m.state = 'active'
$$;

-- Makes the covered repositories equal to the given ones.
CREATE FUNCTION store_coverage(the_installation bigint, repositories jsonb) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    WITH wanted AS (
        SELECT repo_id, full_name, look FROM jsonb_to_recordset(repositories)
            AS w (repo_id bigint, full_name text, look boolean)
    ), removed AS (
        DELETE FROM installation_repository AS known WHERE installation_id = the_installation
          AND NOT EXISTS (SELECT FROM wanted WHERE wanted.repo_id = known.repo_id)
    )
    INSERT INTO installation_repository AS known (installation_id, repo_id, repo_full_name, look)
    SELECT the_installation, repo_id, full_name, is_to_be_looked_at(the_installation, repo_id, look)
    FROM wanted ORDER BY repo_id
    ON CONFLICT (installation_id, repo_id) DO UPDATE SET repo_full_name = excluded.repo_full_name, seen_at = now()
    WHERE known.repo_full_name <> excluded.repo_full_name;
    IF EXISTS (SELECT FROM installation_repository WHERE installation_id = the_installation AND look) THEN
        PERFORM want_looks(the_installation);
    END IF;
END $$;

-- Stores what was seen of one repository: covered under `the_name`, or (NULL) not. False: all of the installation's were
-- listed since (`expected`: the listed_at that was found before asking), and nothing is written.
CREATE FUNCTION store_repository(the_installation bigint, expected timestamptz, the_repo bigint, the_name text,
    hint boolean) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    UPDATE installation SET checked_at = clock_timestamp()
    WHERE installation_id = the_installation AND listed_at IS NOT DISTINCT FROM expected;
    IF NOT FOUND THEN
        RETURN false;
    ELSIF the_name IS NULL THEN
        DELETE FROM installation_repository WHERE installation_id = the_installation AND repo_id = the_repo;
        RETURN true;
    END IF;
    INSERT INTO installation_repository AS known (installation_id, repo_id, repo_full_name, look)
    VALUES (the_installation, the_repo, the_name, is_to_be_looked_at(the_installation, the_repo, hint))
    ON CONFLICT (installation_id, repo_id) DO UPDATE SET repo_full_name = excluded.repo_full_name, seen_at = now()
    WHERE known.repo_full_name <> excluded.repo_full_name;
    IF EXISTS (SELECT FROM installation_repository AS r
               WHERE r.installation_id = the_installation AND r.repo_id = the_repo AND r.look) THEN
        PERFORM want_looks(the_installation);
    END IF;
    RETURN true;
END $$;

-- Lets the heads of an installation's open sessions be looked at: of these repositories, or (NULL) of all.
CREATE FUNCTION look_again(the_installation bigint, repos bigint[]) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM 1 FROM installation WHERE installation_id = the_installation FOR SHARE;
    UPDATE installation_repository AS r SET look = true
    FROM repo_mapping AS m JOIN lab_session AS s USING (session_id)
    WHERE r.installation_id = the_installation AND m.installation_id = the_installation
      AND m.provider_repo_id = r.repo_id AND m.state = 'active' AND s.status IN ('IN_PROGRESS', 'STUCK')
      AND NOT r.look AND (repos IS NULL OR r.repo_id = ANY (repos));
    IF FOUND THEN
        PERFORM want_looks(the_installation);
    END IF;
END $$;

-- Ends a mapping whose repository is gone for ever. What was reached in it cannot be seen any more: an unfinished session
-- begins anew with the next repository, while what staff decided counts there as well.
CREATE FUNCTION free_mapping(the_mapping bigint, event jsonb) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    IF NOT revoke_mapping(the_mapping, 'the repository is gone', true, event) THEN
        RETURN false;
    END IF;
    UPDATE step_progress AS p SET state = 'reopened', reopened_at = now(),
        evidence = jsonb_build_object('reason', 'REPOSITORY_GONE')
    FROM repo_mapping AS m WHERE m.mapping_id = the_mapping AND p.session_id = m.session_id AND p.state = 'completed';
    RETURN true;
END $$;
