-- A template that was looked at, and a session that moved to another version and was moved back.
INSERT INTO template_look (lab_id, outcome, branch, head_sha, problems)
SELECT lab_id, 'broken', 'main', repeat('c', 40), '[{"code": "STEPS012"}]' FROM lab LIMIT 1;
UPDATE lab_session SET base_commit_sha = repeat('a', 40)
WHERE session_id = '00000000-0000-4000-8000-00000000000a';
INSERT INTO session_migration (run_id, session_id, from_version_id, to_version_id, accepted_sha, done, undone_at)
SELECT nextval('session_migration_run'), session_id, lab_version_id, lab_version_id, repeat('d', 40), '{one}', now()
FROM lab_session WHERE session_id = '00000000-0000-4000-8000-00000000000a';
