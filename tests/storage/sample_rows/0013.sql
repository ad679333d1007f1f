-- A session gets its standing by itself; here a further push and a step change it.
INSERT INTO push_attempt (session_id, trigger, delivery_id, ref, after_sha, lab_version_id, verdict, detail, revision)
SELECT session_id, 'push', gen_random_uuid(), 'refs/heads/main', repeat('9', 40), lab_version_id, 'blocked',
    '{"waiting": {"two": ["approval by staff"]}}', 2
FROM lab_session WHERE session_id = '00000000-0000-4000-8000-00000000000a';
INSERT INTO step_progress (session_id, step_id, state, completed_at)
VALUES ('00000000-0000-4000-8000-00000000000a', 'three', 'completed', now());
