-- A sweep under way, a missing delivery, one that was given up, and plans for looks.
UPDATE recovery_state SET newest_at = now(), horizon = now() - interval '1 hour', sweep_top = now(),
    sweep_next = 'https://api.github.com/app/hook/deliveries?cursor=v1_1';
INSERT INTO delivery_missed (guid, event, delivery_id, repo_id, delivered_at)
VALUES ('00000000-0000-4000-8000-000000000027', 'push', 27, 501, now());
INSERT INTO delivery_missed (guid, event, delivery_id, delivered_at, attempts, given_up_at, last_error)
VALUES ('00000000-0000-4000-8000-000000000028', 'push', 28, now(), 8, now(), 'Gone: no payload');
INSERT INTO installation_look (installation_id, due_at) VALUES (71, now());
INSERT INTO head_look (session_id, woken_sha) SELECT session_id, repeat('0', 40) FROM lab_session LIMIT 1;
