-- Deliveries, recorded once before they are acknowledged, and the lanes in which they are processed in order.

CREATE TABLE delivery (
    inbox_id        bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    guid            uuid NOT NULL,
    event           text NOT NULL,
    action          text,
    installation_id bigint,
    repo_id         bigint,
    lane_id         text NOT NULL,
    payload         bytea,
    headers         jsonb NOT NULL DEFAULT '{}',
    received_at     timestamptz NOT NULL DEFAULT now(),
    state           text NOT NULL DEFAULT 'waiting' CHECK (state IN ('waiting', 'done', 'superseded', 'dead')),
    outcome         text,
    attempts        integer NOT NULL DEFAULT 0,
    next_attempt_at timestamptz,
    last_error      text,
    finished_at     timestamptz,
    CONSTRAINT delivery_guid_event_key UNIQUE (guid, event),
    CONSTRAINT delivery_finish CHECK ((state = 'waiting') = (finished_at IS NULL)),
    CONSTRAINT delivery_waiting_has_body CHECK (state <> 'waiting' OR payload IS NOT NULL)
);
-- Bodies are compressed by nobody: they are read once and forgotten.
ALTER TABLE delivery ALTER COLUMN payload SET STORAGE EXTERNAL;
CREATE INDEX delivery_waiting ON delivery (lane_id, inbox_id) WHERE state = 'waiting';
CREATE INDEX delivery_dead ON delivery (inbox_id) WHERE state = 'dead';
CREATE INDEX delivery_body ON delivery (finished_at) WHERE payload IS NOT NULL AND state IN ('done', 'superseded');
COMMENT ON COLUMN delivery.payload IS 'the signed bytes; NULL once forgotten';

CREATE TABLE lane (
    lane_id      text PRIMARY KEY,
    due_at       timestamptz,
    holder       text,
    token        bigint NOT NULL DEFAULT 0,
    leased_until timestamptz,
    CONSTRAINT lane_lease CHECK ((holder IS NULL) = (leased_until IS NULL))
) WITH (autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_threshold = 500);
CREATE INDEX lane_due ON lane (due_at) WHERE leased_until IS NULL AND due_at IS NOT NULL;
CREATE INDEX lane_leased ON lane (leased_until) WHERE leased_until IS NOT NULL;
COMMENT ON COLUMN lane.due_at IS 'when there is something to do; cleared by a claim, kept by a release';
COMMENT ON COLUMN lane.token IS 'rises with each claim: a holder that was taken over is told apart by it';

-- Whether this holder still has the lane. The row stays locked for the caller's transaction in a way that lets deliveries
-- be recorded but no other worker claim the lane, so that a lease cannot change hands between the check and the commit.
CREATE FUNCTION holds_lane(the_lane text, the_token bigint) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    PERFORM 1 FROM lane
    WHERE lane_id = the_lane AND token = the_token AND leased_until > clock_timestamp() FOR KEY SHARE;
    RETURN FOUND;
END $$;
