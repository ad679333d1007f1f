-- A verdict that was sent, a preview that is wanted, and a rejection without session.
SELECT want_report(jsonb_build_object('repo_id', 501, 'head_sha', repeat(head, 40), 'session_id', session_id,
    'name', 'forgea/steps', 'installation_id', 71, 'repo_full_name', 'learner-one/lab', 'check_run', '{}'::jsonb,
    'status', NULL, 'conclusion', conclusion, 'weak', weak, 'wanted_digest', head, 'wanted_status_digest', ''))
FROM (VALUES
    ('c', '00000000-0000-4000-8000-00000000000a', 'failure', false),
    ('d', '00000000-0000-4000-8000-00000000000a', 'success', true),
    ('e', NULL, 'action_required', false)) AS report (head, session_id, conclusion, weak);
UPDATE outbox SET state = 'sent', sent_check_digest = wanted_digest, check_run_id = 1 WHERE head_sha = repeat('c', 40);
