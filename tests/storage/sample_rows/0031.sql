-- Two sessions' reports on one head: the first is left off.
INSERT INTO outbox (repo_id, head_sha, session_id, name, installation_id, repo_full_name, check_run, conclusion,
    wanted_digest, state, attempts)
VALUES (501, repeat('d', 40), '00000000-0000-0000-0000-000000000000', 'stepgate', 11, 'learner-one/lab', '{}', 'success',
    'x', 'wanted', 1);
SELECT want_report(jsonb_build_object('repo_id', 501, 'head_sha', repeat('d', 40), 'name', 'stepgate',
    'session_id', '00000000-0000-0000-0000-000000000001', 'installation_id', 11, 'repo_full_name', 'learner-one/lab',
    'check_run', '{}'::jsonb, 'conclusion', 'failure', 'weak', false, 'wanted_digest', 'y', 'wanted_status_digest', ''));
SELECT send_again(501);
