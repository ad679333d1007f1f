-- What one installation of the App may still ask of GitHub, shared by all processes. Only the database's clock counts.
--
-- What GitHub told us must survive a crash of the database. What we count ourselves lives for minutes and is written
-- with almost every request: those tables are unlogged, so that counting waits for no disk. After a crash they are
-- empty, and the first limit that GitHub sets opens the breaker, as it would without them.

CREATE TABLE github_budget (
    installation_id bigint PRIMARY KEY,
    blocked_until   timestamptz NOT NULL,
    kind            text NOT NULL CHECK (kind IN ('primary', 'secondary')),
    named           boolean NOT NULL,
    strikes         integer NOT NULL DEFAULT 0,
    slowness        integer NOT NULL DEFAULT 0,
    slow_since      timestamptz NOT NULL
);
COMMENT ON COLUMN github_budget.installation_id IS '0: the App itself';
COMMENT ON COLUMN github_budget.named IS 'GitHub named the time itself';
COMMENT ON COLUMN github_budget.strikes IS 'secondary limits without a time, one soon after the other';
COMMENT ON COLUMN github_budget.slowness IS 'how often the distance of writes was doubled; one less for each minute since slow_since';

CREATE UNLOGGED TABLE github_pace (
    installation_id bigint PRIMARY KEY,
    next_write_at   timestamptz NOT NULL,
    short           boolean NOT NULL
) WITH (fillfactor = 50);
COMMENT ON COLUMN github_pace.short IS 'fewer writes are allowed than the setting wants: the distance was doubled, or the profile is strict';

CREATE UNLOGGED TABLE github_window (
    installation_id bigint NOT NULL,
    name            text NOT NULL,
    slot            bigint NOT NULL,
    slot_seconds    double precision NOT NULL,
    used            integer[] NOT NULL,
    PRIMARY KEY (installation_id, name)
) WITH (fillfactor = 50);
COMMENT ON TABLE github_window IS 'points of an endpoint (or writes) in the last slots of time';
COMMENT ON COLUMN github_window.used IS 'slot number n is element n % length + 1; slot is the newest one';

CREATE UNLOGGED TABLE github_caller (
    holder  text PRIMARY KEY,
    seen_at timestamptz NOT NULL
) WITH (fillfactor = 50);
COMMENT ON TABLE github_caller IS 'processes that speak to GitHub now: they part the concurrent requests among them';

CREATE UNLOGGED TABLE outbox_turn (
    repo_id bigint PRIMARY KEY,
    turns   integer NOT NULL,
    since   timestamptz NOT NULL
) WITH (fillfactor = 50);
COMMENT ON TABLE outbox_turn IS 'how many reports of a repository were taken since a time, at most a minute ago';

-- The claim goes through the installations that wait, and takes a few of each.
CREATE INDEX outbox_waiting ON outbox (installation_id, due_at) WHERE state = 'wanted';

-- How often the distance of writes is doubled now: one less for each quiet minute (a rate that is halved back).
CREATE FUNCTION github_slowness(budget github_budget) RETURNS integer LANGUAGE sql STABLE AS $$
    SELECT greatest(0, coalesce(
        budget.slowness - floor(extract(epoch FROM greatest(clock_timestamp() - budget.slow_since, '0')) / 60)::integer, 0))
$$;

-- Takes `at_least` to `wanted` of what a window allows, `most` in any 13 slots; the 14th is the one that has begun.
-- `taken` 0: there is not so much, and there will be after `wait` seconds.
CREATE FUNCTION github_take(installation bigint, window_name text, width double precision, most integer,
    wanted integer, at_least integer, OUT taken integer, OUT wait double precision) LANGUAGE plpgsql AS $$
DECLARE
    slots constant integer := 14;
    at double precision := extract(epoch FROM clock_timestamp());
    newest bigint := floor(at / width);
    known github_window;
    remaining integer;
BEGIN
    INSERT INTO github_window VALUES (installation, window_name, newest, width, array_fill(0, ARRAY[slots]))
    ON CONFLICT DO NOTHING;
    SELECT * INTO known FROM github_window AS w
    WHERE w.installation_id = installation AND w.name = window_name FOR UPDATE;
    -- the clock may have been set back: a little, then time waits for it; far, then what was used counts as used now
    newest := CASE WHEN known.slot > newest + slots THEN newest ELSE greatest(newest, known.slot) END;
    FOR number IN greatest(known.slot, newest - slots) + 1 .. newest LOOP
        known.used[number % slots + 1] := 0;
    END LOOP;
    remaining := most - (SELECT sum(used) FROM unnest(known.used) AS used);
    wait := 0;
    taken := least(remaining, wanted);
    IF taken >= at_least THEN
        known.used[newest % slots + 1] := known.used[newest % slots + 1] + taken;
        UPDATE github_window SET slot = newest, slot_seconds = width, used = known.used
        WHERE installation_id = installation AND name = window_name;
        RETURN;
    END IF;
    taken := 0;
    FOR number IN newest - slots + 1 .. newest LOOP
        remaining := remaining + known.used[number % slots + 1];
        wait := (number + slots) * width - at;
        EXIT WHEN remaining >= at_least;
    END LOOP;
END $$;

-- Reserves the next write. `refused` NULL: send it after `wait` seconds. Else nothing is reserved, and asking again is
-- of use after `wait` seconds: 'primary', 'secondary' (GitHub's limit) or 'pace' (ours).
CREATE FUNCTION github_reserve_write(installation bigint, endpoint text, points integer, distance double precision,
    most integer, per_minute integer, per_hour integer, longest_wait double precision,
    OUT wait double precision, OUT refused text, OUT named boolean) LANGUAGE plpgsql AS $$
DECLARE
    budget github_budget;
    pace github_pace;
    at timestamptz;
    slow integer;
    got record;
BEGIN
    INSERT INTO github_pace VALUES (installation, '-infinity', false) ON CONFLICT DO NOTHING;
    SELECT * INTO pace FROM github_pace AS p WHERE p.installation_id = installation FOR UPDATE;
    SELECT * INTO budget FROM github_budget AS b WHERE b.installation_id = installation;
    at := clock_timestamp();
    named := coalesce(budget.named, false);
    IF budget.blocked_until > at THEN
        wait := extract(epoch FROM budget.blocked_until - at);
        refused := budget.kind;
        RETURN;
    END IF;
    slow := github_slowness(budget);
    IF slow > 0 THEN
        distance := greatest(distance, 0.2) * 2 ^ slow;
        most := least(most, 875);  -- whatever the setting says, there are limits
    END IF;
    -- nothing is reserved further ahead than a window is long: a clock that was set back must not stop writing
    pace.next_write_at := least(pace.next_write_at, at + interval '70 minutes');
    wait := greatest(0, extract(epoch FROM greatest(pace.next_write_at, at) - at));
    IF wait > longest_wait THEN
        refused := 'pace';
        RETURN;
    END IF;
    SELECT * INTO got FROM github_take(installation, endpoint, 5, most, points, points);
    IF got.taken > 0 AND per_minute > 0 THEN
        SELECT * INTO got FROM github_take(installation, 'writes in a minute', 5, per_minute, 1, 1);
    END IF;
    IF got.taken > 0 AND per_hour > 0 THEN
        SELECT * INTO got FROM github_take(installation, 'writes in an hour', 300, per_hour, 1, 1);
    END IF;
    IF got.taken = 0 THEN
        wait := got.wait;
        refused := 'pace';
        pace.next_write_at := greatest(pace.next_write_at, at + make_interval(secs => got.wait));
    ELSE
        pace.next_write_at := greatest(pace.next_write_at, at) + make_interval(secs => distance);
    END IF;
    UPDATE github_pace SET next_write_at = pace.next_write_at, short = slow > 0 OR per_minute > 0
    WHERE installation_id = installation;
END $$;

-- Points for reads of an endpoint, to be used within seconds. `refused` as above; 'pace' says when there are `at_least`.
CREATE FUNCTION github_lease_reads(installation bigint, endpoint text, most integer, wanted integer, at_least integer,
    OUT taken integer, OUT wait double precision, OUT refused text, OUT named boolean) LANGUAGE plpgsql AS $$
DECLARE
    budget github_budget;
BEGIN
    SELECT * INTO budget FROM github_budget AS b WHERE b.installation_id = installation;
    named := coalesce(budget.named, false);
    IF budget.blocked_until > clock_timestamp() THEN
        taken := 0;
        wait := extract(epoch FROM budget.blocked_until - clock_timestamp());
        refused := budget.kind;
        RETURN;
    END IF;
    SELECT got.taken, got.wait INTO taken, wait FROM github_take(installation, endpoint, 5, most, wanted, at_least) AS got;
    IF taken = 0 THEN
        refused := 'pace';
    END IF;
END $$;

-- GitHub has set a limit of so many seconds: the installation is silent in all processes. A secondary limit doubles the
-- distance of its writes; one without a time lasts twice as long as the one before, unless that was forgiven. Several
-- answers of one limit count once. Returns what holds.
CREATE FUNCTION github_pause(installation bigint, limit_kind text, limit_named boolean, seconds double precision,
    longest double precision, forgiven double precision,
    OUT wait double precision, OUT kind text, OUT named boolean) LANGUAGE plpgsql AS $$
DECLARE
    known github_budget;
    at timestamptz := clock_timestamp();
    ends timestamptz;
    fresh boolean;
BEGIN
    INSERT INTO github_budget VALUES (installation, '-infinity', limit_kind, limit_named, -1, 0, at)
    ON CONFLICT DO NOTHING;
    SELECT * INTO known FROM github_budget AS b WHERE b.installation_id = installation FOR UPDATE;
    at := greatest(at, clock_timestamp());
    fresh := limit_kind = 'secondary' AND NOT (known.kind = 'secondary' AND known.blocked_until > at);
    known.slowness := least(github_slowness(known) + fresh::integer, 6);
    IF limit_kind = 'secondary' AND NOT limit_named THEN
        IF fresh OR known.named THEN
            known.strikes := CASE WHEN known.blocked_until > at - make_interval(secs => forgiven)
                             THEN known.strikes + 1 ELSE 0 END;
            ends := at + make_interval(secs => least(seconds * 2 ^ greatest(known.strikes, 0), longest));
        END IF;
    ELSE
        ends := at + make_interval(secs => seconds);
    END IF;
    IF ends > known.blocked_until THEN
        known.blocked_until := ends;
        known.kind := limit_kind;
        known.named := limit_named;
    END IF;
    known.slow_since := greatest(at, known.blocked_until);  -- minutes of silence are no quiet ones
    UPDATE github_budget AS b SET blocked_until = known.blocked_until, kind = known.kind, named = known.named,
        strikes = known.strikes, slowness = known.slowness, slow_since = known.slow_since
    WHERE b.installation_id = installation;
    wait := extract(epoch FROM known.blocked_until - at);
    kind := known.kind;
    named := known.named;
    PERFORM pg_notify('github_paused', concat_ws(' ', installation, wait, kind, named));
END $$;
