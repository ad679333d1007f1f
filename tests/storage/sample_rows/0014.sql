-- A learner who asks for help, and a fact of the operator's shell.
UPDATE lab_session SET status = 'STUCK', help_at = now(), help_words = 'where do I start?', help_made_stuck = true
WHERE session_id = '00000000-0000-4000-8000-00000000000a';
INSERT INTO staff_fact (session_id, kind, step_id, by_account, reason)
VALUES ('00000000-0000-4000-8000-00000000000a', 'approve', 'two', NULL, 'seen in class');
