-- Deliveries in each state, a free lane that is due, and one that is held.
INSERT INTO delivery (guid, event, action, installation_id, repo_id, lane_id, payload, headers, state, outcome, attempts,
    last_error, finished_at) VALUES
    (gen_random_uuid(), 'push', NULL, 71, 501, 'repo:501', '\x7b7d', '{}', 'waiting', NULL, 1, 'GitHub: 502', NULL),
    (gen_random_uuid(), 'push', NULL, 71, 501, 'repo:501', NULL, '{}', 'done', 'accepted', 1, NULL, now()),
    (gen_random_uuid(), 'push', NULL, 71, 501, 'repo:501', '\x00ff', '{}', 'superseded', 'superseded', 0, NULL, now()),
    (gen_random_uuid(), 'installation', 'created', 71, NULL, 'installation:71', '\x7b7d', '{"a": "b"}', 'dead', 'dead', 8,
     'unreadable', now());
INSERT INTO lane (lane_id, due_at, holder, token, leased_until) VALUES
    ('repo:501', now(), NULL, 4, NULL),
    ('installation:71', NULL, 'worker', 1, now() + interval '30 seconds');
