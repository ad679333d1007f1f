-- Rows as the functions write them.
SELECT github_pause(71, 'secondary', false, 60, 960, 600);
SELECT github_reserve_write(72, 'repos/{}/{}/check-runs', 5, 0.2, 875, 0, 0, 3);
SELECT github_lease_reads(72, 'repos/{}/{}/git/trees/{}', 875, 50, 1);
INSERT INTO github_caller VALUES ('worker-1', now());
INSERT INTO outbox_turn VALUES (501, 1, now());
