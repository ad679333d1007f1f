-- This migration holds an index only; one more push, from the head of an earlier one.
INSERT INTO push_attempt (session_id, trigger, delivery_id, ref, before_sha, after_sha, lab_version_id, verdict, revision)
SELECT session_id, trigger, gen_random_uuid(), ref, after_sha, after_sha, lab_version_id, verdict, revision
FROM push_attempt WHERE trigger = 'push' LIMIT 1;
