-- Who and where: accounts, installations, labs, sessions, and which repository belongs to which session.

CREATE TABLE github_account (
    account_id    bigint PRIMARY KEY CHECK (account_id > 0),
    login         text NOT NULL,
    kind          text NOT NULL CHECK (kind IN ('User', 'Organization', 'Bot')),
    user_id       uuid,
    first_seen_at timestamptz NOT NULL DEFAULT now(),
    last_seen_at  timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX github_account_login ON github_account (lower(login));
COMMENT ON COLUMN github_account.login IS 'for display: a login can be renamed and taken over by somebody else';
COMMENT ON COLUMN github_account.user_id IS 'the user of the learning platform, when known';

CREATE TABLE installation (
    installation_id      bigint PRIMARY KEY CHECK (installation_id > 0),
    account_id           bigint NOT NULL REFERENCES github_account,
    repository_selection text NOT NULL CHECK (repository_selection IN ('all', 'selected')),
    permissions          jsonb NOT NULL DEFAULT '{}',
    state                text NOT NULL CHECK (state IN ('active', 'suspended', 'deleted')),
    checked_at           timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX installation_account ON installation (account_id);

CREATE TABLE installation_repository (
    installation_id bigint NOT NULL REFERENCES installation ON DELETE CASCADE,
    repo_id         bigint NOT NULL CHECK (repo_id > 0),
    repo_full_name  text NOT NULL,
    seen_at         timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (installation_id, repo_id)
);
CREATE INDEX installation_repository_repo ON installation_repository (repo_id);

CREATE TABLE lab (
    lab_id               bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    slug                 text NOT NULL CONSTRAINT lab_slug_form CHECK (slug ~ '^[a-z0-9][a-z0-9-]{0,63}$'),
    title                text NOT NULL,
    base_repo_id         bigint NOT NULL CHECK (base_repo_id > 0),
    base_repo_full_name  text NOT NULL,
    base_installation_id bigint,
    enrolment            text NOT NULL DEFAULT 'open' CHECK (enrolment IN ('open', 'invited', 'closed')),
    deadline             timestamptz,
    created_at           timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT lab_slug_key UNIQUE (slug),
    CONSTRAINT lab_base_repo_key UNIQUE (base_repo_id)
);

CREATE TABLE lab_version (
    lab_version_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    lab_id         bigint NOT NULL REFERENCES lab,
    number         integer NOT NULL CHECK (number > 0),
    commit_sha     text NOT NULL CHECK (commit_sha ~ '^[0-9a-f]{40}$'),
    tree_sha       text NOT NULL CHECK (tree_sha ~ '^[0-9a-f]{40}$'),
    definition     jsonb NOT NULL,
    digest         text NOT NULL,
    published_at   timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT lab_version_number_key UNIQUE (lab_id, number),
    CONSTRAINT lab_version_commit_key UNIQUE (lab_id, commit_sha),
    CONSTRAINT lab_version_of_lab UNIQUE (lab_version_id, lab_id)
);

-- The rules that a learner works under never change under them. Named as a constraint, so that code can tell it apart.
CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'rows of % are never changed: % refused', TG_TABLE_NAME, TG_OP
        USING ERRCODE = 'restrict_violation', CONSTRAINT = TG_TABLE_NAME || '_' || TG_ARGV[0], TABLE = TG_TABLE_NAME;
END $$;

CREATE TRIGGER lab_version_immutable BEFORE UPDATE OR DELETE ON lab_version
    FOR EACH ROW EXECUTE FUNCTION refuse_change('immutable');
CREATE TRIGGER lab_version_immutable_truncate BEFORE TRUNCATE ON lab_version
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change('immutable');

CREATE TABLE template_commit (
    lab_id      bigint NOT NULL REFERENCES lab,
    commit_sha  text NOT NULL CHECK (commit_sha ~ '^[0-9a-f]{40}$'),
    tree_sha    text NOT NULL CHECK (tree_sha ~ '^[0-9a-f]{40}$'),
    ordinal     integer NOT NULL CHECK (ordinal > 0),
    recorded_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (lab_id, commit_sha),
    CONSTRAINT template_commit_ordinal_key UNIQUE (lab_id, ordinal)
);

CREATE TABLE lab_session (
    session_id         uuid PRIMARY KEY,
    lab_id             bigint NOT NULL REFERENCES lab,
    lab_version_id     bigint NOT NULL,
    learner_account_id bigint NOT NULL REFERENCES github_account,
    user_id            uuid,
    status             text NOT NULL DEFAULT 'IN_PROGRESS'
                       CHECK (status IN ('IN_PROGRESS', 'STUCK', 'VERIFIED_PASS', 'DEFERRED', 'EXPIRED')),
    deferred_by        text CHECK (deferred_by IN ('staff', 'installation')),
    binding_epoch      bigint NOT NULL DEFAULT 0,
    revision           bigint NOT NULL DEFAULT 0,
    accepted_sha       text CHECK (accepted_sha ~ '^[0-9a-f]{40}$'),
    head_sha           text CHECK (head_sha ~ '^[0-9a-f]{40}$'),
    head_rewrite       boolean NOT NULL DEFAULT false,
    branch_head_seen   text CHECK (branch_head_seen ~ '^[0-9a-f]{40}$'),
    started_at         timestamptz NOT NULL DEFAULT now(),
    last_activity_at   timestamptz NOT NULL DEFAULT now(),
    completed_at       timestamptz,
    expires_at         timestamptz,
    legacy_fork_url    text,
    legacy_fork_key    text,
    CONSTRAINT lab_session_version_of_lab FOREIGN KEY (lab_version_id, lab_id)
        REFERENCES lab_version (lab_version_id, lab_id),
    CONSTRAINT lab_session_deferral_has_cause CHECK ((status = 'DEFERRED') = (deferred_by IS NOT NULL))
);
CREATE UNIQUE INDEX lab_session_one_open_per_learner ON lab_session (lab_id, learner_account_id)
    WHERE status IN ('IN_PROGRESS', 'STUCK');
CREATE INDEX lab_session_learner ON lab_session (learner_account_id, lab_id);
CREATE INDEX lab_session_lab_activity ON lab_session (lab_id, last_activity_at);
CREATE INDEX lab_session_activity ON lab_session (last_activity_at);
CREATE INDEX lab_session_expiry ON lab_session (expires_at) WHERE status IN ('IN_PROGRESS', 'STUCK', 'DEFERRED');
CREATE INDEX lab_session_legacy_key ON lab_session (legacy_fork_key) WHERE legacy_fork_key IS NOT NULL;
COMMENT ON COLUMN lab_session.revision IS 'rises with each saved push and each change of progress';
COMMENT ON COLUMN lab_session.head_sha IS 'the newest head of the lab''s branch that was judged';
COMMENT ON COLUMN lab_session.head_rewrite IS 'head_sha is blocked and does not descend from accepted_sha';
COMMENT ON COLUMN lab_session.branch_head_seen IS 'the newest head of the lab''s branch that is known, judged or not';

-- The status machine; rules/session.py says the same, and a test compares them. Only its own cause ends a deferral, and
-- staff's word is the stronger one: the deadline runs on while an installation is away, and waits while staff defers.
CREATE FUNCTION session_may_change(old_status text, old_cause text, new_status text, new_cause text) RETURNS boolean
    LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT CASE old_status
        WHEN 'IN_PROGRESS'   THEN new_status IN ('STUCK', 'VERIFIED_PASS', 'DEFERRED', 'EXPIRED')
        WHEN 'STUCK'         THEN new_status IN ('IN_PROGRESS', 'VERIFIED_PASS', 'DEFERRED', 'EXPIRED')
        WHEN 'VERIFIED_PASS' THEN new_status IN ('IN_PROGRESS')
        WHEN 'EXPIRED'       THEN new_status IN ('IN_PROGRESS')
        WHEN 'DEFERRED'      THEN new_status IN ('IN_PROGRESS')
            OR (old_cause = 'installation' AND (new_status = 'EXPIRED' OR new_cause = 'staff'))
        ELSE false
    END
$$;

CREATE FUNCTION keep_session_rules() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF (NEW.session_id, NEW.lab_id, NEW.learner_account_id) IS DISTINCT FROM
       (OLD.session_id, OLD.lab_id, OLD.learner_account_id) THEN
        RAISE EXCEPTION 'a session never changes its lab or its learner'
            USING ERRCODE = 'restrict_violation', CONSTRAINT = 'lab_session_identity', TABLE = TG_TABLE_NAME;
    END IF;
    IF (NEW.status, NEW.deferred_by) IS DISTINCT FROM (OLD.status, OLD.deferred_by) THEN
        IF session_may_change(OLD.status, OLD.deferred_by, NEW.status, NEW.deferred_by) IS NOT TRUE THEN
            RAISE EXCEPTION 'a session cannot go from % (%) to % (%)', OLD.status, OLD.deferred_by, NEW.status,
                NEW.deferred_by
                USING ERRCODE = 'check_violation', CONSTRAINT = 'lab_session_status_machine', TABLE = TG_TABLE_NAME;
        END IF;
        NEW.binding_epoch := greatest(NEW.binding_epoch, OLD.binding_epoch + 1);
        NEW.completed_at := CASE WHEN NEW.status = 'VERIFIED_PASS' THEN clock_timestamp() END;
    END IF;
    IF NEW.binding_epoch < OLD.binding_epoch THEN
        RAISE EXCEPTION 'the binding epoch only rises'
            USING ERRCODE = 'check_violation', CONSTRAINT = 'lab_session_epoch_rises', TABLE = TG_TABLE_NAME;
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER lab_session_rules BEFORE UPDATE ON lab_session
    FOR EACH ROW EXECUTE FUNCTION keep_session_rules();

CREATE TABLE repo_mapping (
    mapping_id       bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    provider         text NOT NULL DEFAULT 'github' CHECK (provider = 'github'),
    provider_repo_id bigint NOT NULL CHECK (provider_repo_id > 0),
    installation_id  bigint NOT NULL REFERENCES installation,
    owner_account_id bigint NOT NULL REFERENCES github_account,
    repo_full_name   text NOT NULL,
    session_id       uuid NOT NULL REFERENCES lab_session,
    state            text NOT NULL DEFAULT 'active' CHECK (state IN ('active', 'revoked')),
    source           text NOT NULL
                     CHECK (source IN ('event', 'enrolment', 'staff', 'api', 'backfill', 'legacy_url')),
    first_seen_at    timestamptz NOT NULL DEFAULT now(),
    last_seen_at     timestamptz NOT NULL DEFAULT now(),
    revoked_at       timestamptz,
    revoked_reason   text,
    CONSTRAINT repo_mapping_revocation CHECK (
        (state = 'revoked') = (revoked_at IS NOT NULL) AND (state = 'revoked') = (revoked_reason IS NOT NULL))
);
CREATE UNIQUE INDEX repo_mapping_one_active_per_repo ON repo_mapping (provider, provider_repo_id)
    WHERE state = 'active';
CREATE UNIQUE INDEX repo_mapping_one_active_per_session ON repo_mapping (session_id) WHERE state = 'active';
CREATE INDEX repo_mapping_repo ON repo_mapping (provider_repo_id);
CREATE INDEX repo_mapping_session ON repo_mapping (session_id);
CREATE INDEX repo_mapping_installation ON repo_mapping (installation_id) WHERE state = 'active';

-- No writer can forget that a changed binding raises the epoch and empties the caches of other processes.
CREATE FUNCTION tell_binding_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE lab_session SET binding_epoch = binding_epoch + 1 WHERE session_id = NEW.session_id;
    PERFORM pg_notify('binding_changed', NEW.provider_repo_id::text);
    RETURN NULL;
END $$;
CREATE TRIGGER repo_mapping_added AFTER INSERT ON repo_mapping
    FOR EACH ROW EXECUTE FUNCTION tell_binding_changed();
CREATE TRIGGER repo_mapping_changed AFTER UPDATE ON repo_mapping
    FOR EACH ROW
    WHEN ((OLD.state, OLD.installation_id, OLD.owner_account_id)
          IS DISTINCT FROM (NEW.state, NEW.installation_id, NEW.owner_account_id))
    EXECUTE FUNCTION tell_binding_changed();

CREATE FUNCTION keep_mapping_rules() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF (NEW.provider, NEW.provider_repo_id, NEW.session_id) IS DISTINCT FROM
       (OLD.provider, OLD.provider_repo_id, OLD.session_id) OR (OLD.state = 'revoked' AND NEW.state = 'active') THEN
        RAISE EXCEPTION 'a mapping never moves and never comes back: revoke it and add another'
            USING ERRCODE = 'restrict_violation', CONSTRAINT = 'repo_mapping_identity', TABLE = TG_TABLE_NAME;
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER repo_mapping_rules BEFORE UPDATE ON repo_mapping
    FOR EACH ROW EXECUTE FUNCTION keep_mapping_rules();

CREATE TABLE invitation (
    invitation_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    lab_id        bigint NOT NULL REFERENCES lab,
    account_id    bigint,
    repo_id       bigint,
    login         text,
    invited_at    timestamptz NOT NULL DEFAULT now(),
    session_id    uuid REFERENCES lab_session,
    CONSTRAINT invitation_names_somebody CHECK (num_nonnulls(account_id, repo_id, login) > 0)
);
CREATE UNIQUE INDEX invitation_account_key ON invitation (lab_id, account_id)
    WHERE account_id IS NOT NULL AND repo_id IS NULL;
CREATE UNIQUE INDEX invitation_repo_key ON invitation (lab_id, repo_id) WHERE repo_id IS NOT NULL;
CREATE UNIQUE INDEX invitation_login_key ON invitation (lab_id, lower(login))
    WHERE account_id IS NULL AND repo_id IS NULL;
CREATE INDEX invitation_session ON invitation (session_id) WHERE session_id IS NOT NULL;
