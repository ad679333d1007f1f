-- A repository that is to be looked at.
INSERT INTO installation_repository (installation_id, repo_id, repo_full_name, look)
SELECT installation_id, 1900, 'octo-course/nineteen', true FROM installation ORDER BY installation_id LIMIT 1;
UPDATE installation SET listed_at = now();
