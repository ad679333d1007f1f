-- What was decided about bindings, and why. Rows are never changed; ids, not names, of people.

CREATE TABLE audit_event (
    event_id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at                timestamptz NOT NULL DEFAULT now(),
    kind              text NOT NULL CHECK (kind ~ '^[a-z][a-z0-9_]{0,63}$'),
    code              text,
    actor_id          bigint,
    installation_id   bigint,
    repo_id           bigint,
    repo_full_name    text,
    owner_id          bigint,
    expected_owner_id bigint,
    parent_id         bigint,
    key_tried         text,
    mapping_id        bigint,
    session_id        uuid,
    ref               text,
    head_sha          text,
    sender_id         bigint,
    delivery_id       uuid,
    binding_mode      text NOT NULL DEFAULT 'canonical' CHECK (binding_mode IN ('shadow', 'canonical')),
    detail            jsonb NOT NULL DEFAULT '{}'
);
CREATE INDEX audit_event_session ON audit_event (session_id, event_id) WHERE session_id IS NOT NULL;
CREATE INDEX audit_event_repo ON audit_event (repo_id, event_id) WHERE repo_id IS NOT NULL;
CREATE INDEX audit_event_code ON audit_event (code, event_id) WHERE code IS NOT NULL;
CREATE INDEX audit_event_kind ON audit_event (kind, event_id);
CREATE INDEX audit_event_at ON audit_event (at);

CREATE TRIGGER audit_event_append_only BEFORE UPDATE OR DELETE ON audit_event
    FOR EACH ROW EXECUTE FUNCTION refuse_change('append_only');
CREATE TRIGGER audit_event_append_only_truncate BEFORE TRUNCATE ON audit_event
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change('append_only');

-- A rejection is one audit row per repository, code and day; how often it happened is counted beside it.
CREATE TABLE rejection_count (
    event_id         bigint PRIMARY KEY REFERENCES audit_event,
    day              date NOT NULL,
    repo_id          bigint NOT NULL,
    code             text NOT NULL,
    count            bigint NOT NULL DEFAULT 1,
    last_delivery_id uuid,
    last_at          timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT rejection_count_one_per_day UNIQUE (repo_id, code, day)
);

-- Writes the audit rows of `events`, an array of objects with the columns' names.
CREATE FUNCTION write_audit(events jsonb) RETURNS void LANGUAGE sql AS $$
    INSERT INTO audit_event (kind, code, actor_id, installation_id, repo_id, repo_full_name, owner_id,
        expected_owner_id, parent_id, key_tried, mapping_id, session_id, ref, head_sha, sender_id, delivery_id,
        binding_mode, detail)
    SELECT kind, code, actor_id, installation_id, repo_id, repo_full_name, owner_id, expected_owner_id, parent_id,
        key_tried, mapping_id, session_id, ref, head_sha, sender_id, delivery_id,
        coalesce(binding_mode, 'canonical'), coalesce(detail, '{}')
    FROM ROWS FROM (jsonb_to_recordset(events) AS (kind text, code text, actor_id bigint, installation_id bigint,
        repo_id bigint, repo_full_name text, owner_id bigint, expected_owner_id bigint, parent_id bigint,
        key_tried text, mapping_id bigint, session_id uuid, ref text, head_sha text, sender_id bigint,
        delivery_id uuid, binding_mode text, detail jsonb)) WITH ORDINALITY AS event (kind, code, actor_id,
        installation_id, repo_id, repo_full_name, owner_id, expected_owner_id, parent_id, key_tried, mapping_id,
        session_id, ref, head_sha, sender_id, delivery_id, binding_mode, detail, ordinal)
    ORDER BY ordinal
$$;

-- Counts one rejection (`event`: an object with the columns' names); the first of a repository, code and day writes the
-- audit row. Returns that row's id.
CREATE FUNCTION count_rejection(event jsonb) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    today date := (now() AT TIME ZONE 'UTC')::date;
    counted bigint;
BEGIN
    LOOP
        UPDATE rejection_count AS known
        SET count = known.count + 1, last_delivery_id = (event->>'delivery_id')::uuid, last_at = now()
        WHERE known.repo_id = (event->>'repo_id')::bigint AND known.code = event->>'code' AND known.day = today
        RETURNING known.event_id INTO counted;
        IF FOUND THEN
            RETURN counted;
        END IF;
        BEGIN
            PERFORM write_audit(jsonb_build_array(event));
            counted := currval(pg_get_serial_sequence('audit_event', 'event_id'));
            INSERT INTO rejection_count (event_id, day, repo_id, code, last_delivery_id)
            VALUES (counted, today, (event->>'repo_id')::bigint, event->>'code', (event->>'delivery_id')::uuid);
            RETURN counted;
        EXCEPTION WHEN unique_violation THEN
            NULL; -- another transaction was first: its row is counted up
        END;
    END LOOP;
END $$;
