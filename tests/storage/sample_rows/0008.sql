-- A job that waits, and a schedule.
INSERT INTO pgqueuer (priority, status, entrypoint, payload) VALUES (0, 'queued', 'reconcile', '\x7b7d');
INSERT INTO pgqueuer_schedules (expression, entrypoint) VALUES ('* * * * *', 'sweep');
