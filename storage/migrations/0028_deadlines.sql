-- A push counts by when it came, not by when we got round to it: a session stays open past its deadline as long as a
-- push that came in time waits for its turn.

CREATE FUNCTION push_in_time_waits(the_session uuid, deadline timestamptz) RETURNS boolean LANGUAGE sql STABLE AS $$
    SELECT EXISTS (
        SELECT FROM repo_mapping AS m JOIN delivery AS d ON d.lane_id = 'repo:' || m.provider_repo_id
        WHERE m.session_id = the_session AND m.state = 'active'
          AND d.state = 'waiting' AND d.event = 'push' AND d.received_at <= deadline)
$$;

CREATE OR REPLACE FUNCTION expire_session(the_session uuid, event jsonb) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    known lab_session;
BEGIN
    SELECT * INTO known FROM lab_session WHERE session_id = the_session FOR UPDATE;
    IF known.expires_at IS NULL OR known.expires_at > clock_timestamp()
       OR session_may_change(known.status, known.deferred_by, 'EXPIRED', NULL) IS NOT TRUE
       OR push_in_time_waits(the_session, known.expires_at) THEN
        RETURN false;
    END IF;
    PERFORM change_session_status(the_session, known.binding_epoch, 'EXPIRED', NULL, NULL, event);
    RETURN true;
END $$;
