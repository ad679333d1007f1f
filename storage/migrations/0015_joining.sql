-- What /join asks: what became of the repositories that an account owns or pushed to, without reading the whole audit.

-- The audit row of a rejection is the first one's, and an installation has no sender: who pushed later is kept here.
ALTER TABLE rejection_count ADD COLUMN senders bigint[] NOT NULL DEFAULT '{}';
COMMENT ON COLUMN rejection_count.senders IS 'account ids of the last ten who pushed, for telling them why; they decide nothing';
CREATE INDEX rejection_count_senders ON rejection_count USING gin (senders);
CREATE INDEX audit_event_refused_owner ON audit_event (owner_id, event_id) WHERE kind = 'rejected';

CREATE OR REPLACE FUNCTION count_rejection(event jsonb) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    today date := (now() AT TIME ZONE 'UTC')::date;
    sender bigint[] := array_remove(ARRAY[(event->>'sender_id')::bigint], NULL);
    counted bigint;
BEGIN
    LOOP
        UPDATE rejection_count AS known
        SET count = known.count + 1, last_delivery_id = (event->>'delivery_id')::uuid, last_at = now(),
            senders = CASE WHEN known.senders @> sender THEN known.senders ELSE (sender || known.senders)[:10] END
        WHERE known.repo_id = (event->>'repo_id')::bigint AND known.code = event->>'code' AND known.day = today
        RETURNING known.event_id INTO counted;
        IF FOUND THEN
            RETURN counted;
        END IF;
        BEGIN
            PERFORM write_audit(jsonb_build_array(event));
            counted := currval(pg_get_serial_sequence('audit_event', 'event_id'));
            INSERT INTO rejection_count (event_id, day, repo_id, code, last_delivery_id, senders)
            VALUES (counted, today, (event->>'repo_id')::bigint, event->>'code', (event->>'delivery_id')::uuid, sender);
            RETURN counted;
        EXCEPTION WHEN unique_violation THEN
            NULL; -- another transaction was first: its row is counted up
        END;
    END LOOP;
END $$;
