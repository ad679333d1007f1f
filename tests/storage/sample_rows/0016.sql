-- A class list: somebody known, somebody for a repository, and a login that nobody has yet; a deadline that moved.
SELECT invite_all(lab_id, '[{"account_id": 103, "login": "octo-staff", "kind": "User"},
    {"account_id": 101, "login": "learner-one", "kind": "User", "repo_id": 501},
    {"login": "learner-three"}]', '{"detail": {}}', false) FROM lab LIMIT 1;
SELECT edit_lab(lab_id, '{"enrolment": "invited", "deadline": "2031-01-01T00:00:00Z"}', true, '{"detail": {}}')
FROM lab LIMIT 1;
