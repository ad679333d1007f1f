-- needs: 0000
-- A delivery that was taken from GitHub's log counts by when GitHub sent it, not by when we came to take it. NULL: it
-- came by the webhook (or was stored by code that did not know this column), and counts by when it was received.
ALTER TABLE delivery ADD COLUMN sent_at timestamptz;
COMMENT ON COLUMN delivery.sent_at IS 'when GitHub first sent it, by GitHub''s log; never by its body';

-- As before, by the earlier of both.
CREATE OR REPLACE FUNCTION push_in_time_waits(the_session uuid, deadline timestamptz) RETURNS boolean LANGUAGE sql STABLE
AS $$
    SELECT EXISTS (
        SELECT FROM repo_mapping AS m JOIN delivery AS d ON d.lane_id = 'repo:' || m.provider_repo_id
        WHERE m.session_id = the_session AND m.state = 'active'
          AND d.state = 'waiting' AND d.event = 'push' AND least(d.received_at, d.sent_at) <= deadline)
$$;
