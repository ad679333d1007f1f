-- A rejection of which two people are told.
SELECT count_rejection(jsonb_build_object('kind', 'rejected', 'code', 'NO_SESSION', 'repo_id', 9001, 'owner_id', 502,
    'sender_id', sender, 'detail', '{"lab_id": 1}'::jsonb)) FROM generate_series(501, 502) AS sender;
