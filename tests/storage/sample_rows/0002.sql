-- A blocked push, the re-run that a staff fact caused, progress in both states, and results of heads.
INSERT INTO push_attempt (session_id, trigger, delivery_id, ref, before_sha, after_sha, sender_id, lab_version_id, verdict,
    violations, violations_total, steps_before, steps_after, detail, facts_digest, revision)
SELECT '00000000-0000-4000-8000-00000000000a', 'push', '72d3162e-cc78-11e3-81ab-4c9367dc0958', 'refs/heads/main',
    repeat('0', 40), repeat('d', 40), 101, lab_version_id, 'blocked', '[{"code": "OUT_OF_ORDER"}]', 1, '[]', '["one"]',
    '{"gains": []}', 'facts', 0 FROM lab_version;
INSERT INTO push_attempt (session_id, trigger, ref, after_sha, lab_version_id, verdict, facts_digest, revision)
SELECT '00000000-0000-4000-8000-00000000000a', 'fact', 'refs/heads/main', repeat('d', 40), lab_version_id, 'accepted',
    'other facts', 1 FROM lab_version;
INSERT INTO step_progress (session_id, step_id, state, completed_at, reopened_at, commit_sha, attempt_id)
SELECT '00000000-0000-4000-8000-00000000000a', step_id, state, now(), CASE WHEN state = 'reopened' THEN now() END,
    repeat('d', 40), (SELECT min(attempt_id) FROM push_attempt)
FROM (VALUES ('one', 'completed'), ('two', 'reopened')) AS step (step_id, state);
INSERT INTO staff_fact (session_id, kind, step_id, head_sha, until, by_account, reason, revoked_at) VALUES
    ('00000000-0000-4000-8000-00000000000a', 'unlock', 'three', NULL, '2030-01-01', 900, 'ill', NULL),
    ('00000000-0000-4000-8000-00000000000a', 'accept_head', NULL, repeat('d', 40), NULL, 900, 'seen', now());
INSERT INTO head_fact (repo_id, head_sha, kind, name, app_id, run_id, conclusion) VALUES
    (501, repeat('d', 40), 'workflow', '.github/workflows/test.yml', 0, 9, 'success'),
    (501, repeat('d', 40), 'check', 'lint', 77, 10, 'failure');
