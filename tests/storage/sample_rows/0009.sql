-- This migration holds an index only; one more attempt at a head that was judged before.
INSERT INTO push_attempt (session_id, trigger, delivery_id, ref, after_sha, lab_version_id, verdict, revision)
SELECT session_id, trigger, gen_random_uuid(), ref, after_sha, lab_version_id, verdict, revision
FROM push_attempt WHERE trigger = 'push' LIMIT 1;
