-- Two learners, one with a bound session, one whose repository is gone; a template; an invitation.
INSERT INTO github_account (account_id, login, kind, user_id) VALUES
    (900, 'octo-course', 'Organization', NULL),
    (101, 'learner-one', 'User', '00000000-0000-4000-8000-000000000001'),
    (102, 'learner-two', 'User', NULL);
INSERT INTO installation (installation_id, account_id, repository_selection, permissions, state) VALUES
    (70, 900, 'all', '{"checks": "write"}', 'active'),
    (71, 101, 'selected', '{"checks": "write"}', 'active'),
    (72, 102, 'selected', '{}', 'deleted');
INSERT INTO installation_repository (installation_id, repo_id, repo_full_name) VALUES (71, 501, 'learner-one/lab');
INSERT INTO lab (slug, title, base_repo_id, base_repo_full_name, base_installation_id, enrolment, deadline)
VALUES ('closures', 'React closures', 5000, 'octo-course/closures', 70, 'open', '2030-01-01');
INSERT INTO lab_version (lab_id, number, commit_sha, tree_sha, definition, digest)
SELECT lab_id, 1, repeat('a', 40), repeat('b', 40),
    '{"title": "T", "branch": "main", "protected": [], "shared": [], "policy": {}, "steps": []}', 'digest' FROM lab;
INSERT INTO template_commit (lab_id, commit_sha, tree_sha, ordinal)
SELECT lab_id, repeat('a', 40), repeat('b', 40), 1 FROM lab;
INSERT INTO lab_session (session_id, lab_id, lab_version_id, learner_account_id, accepted_sha, head_sha, legacy_fork_url)
SELECT '00000000-0000-4000-8000-00000000000a', lab_id, lab_version_id, 101, repeat('c', 40), repeat('d', 40),
    'https://github.com/learner-one/lab' FROM lab_version;
INSERT INTO lab_session (session_id, lab_id, lab_version_id, learner_account_id, status, deferred_by)
SELECT '00000000-0000-4000-8000-00000000000b', lab_id, lab_version_id, 102, 'DEFERRED', 'installation' FROM lab_version;
INSERT INTO repo_mapping (provider_repo_id, installation_id, owner_account_id, repo_full_name, session_id, source)
VALUES (501, 71, 101, 'learner-one/lab', '00000000-0000-4000-8000-00000000000a', 'event'),
    (502, 72, 102, 'learner-two/lab', '00000000-0000-4000-8000-00000000000b', 'enrolment');
UPDATE repo_mapping SET state = 'revoked', revoked_at = now(), revoked_reason = 'repository gone'
WHERE provider_repo_id = 502;
INSERT INTO invitation (lab_id, account_id, session_id)
SELECT lab_id, 101, '00000000-0000-4000-8000-00000000000a' FROM lab;
INSERT INTO invitation (lab_id, login) SELECT lab_id, 'learner-two' FROM lab;
