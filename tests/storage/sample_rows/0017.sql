-- A version of which a step waits for a workflow, deep in its condition, and a result that was no success.
INSERT INTO lab_version (lab_id, number, commit_sha, tree_sha, definition, digest)
SELECT lab_id, 17, repeat('17', 20), repeat('18', 20), '{"steps": [{"id": "one", "complete": {"type": "all", "of": [
    {"type": "approval"}, {"type": "workflow", "path": ".github/workflows/test.yml"}]}}]}', 'digest-17'
FROM lab ORDER BY lab_id LIMIT 1;
INSERT INTO head_fact (repo_id, head_sha, kind, name, app_id, run_id, conclusion)
VALUES (501, repeat('17', 20), 'workflow', '.github/workflows/test.yml', 0, 17, 'failure');
