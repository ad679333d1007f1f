-- A report that waits, as the new index holds it.
INSERT INTO outbox (repo_id, head_sha, session_id, name, installation_id, repo_full_name, check_run, conclusion,
    wanted_digest, state)
VALUES (502, repeat('e', 40), '00000000-0000-0000-0000-000000000000', 'stepgate', 12, 'learner-two/lab', '{}', 'success',
    'x', 'wanted');
