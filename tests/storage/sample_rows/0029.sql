-- A push that was taken from GitHub's log, and waits.
INSERT INTO delivery (guid, event, repo_id, lane_id, payload, sent_at)
VALUES ('00000000-0000-4000-8000-000000000029', 'push', 501, 'repo:501', '{}', now() - interval '1 hour');
