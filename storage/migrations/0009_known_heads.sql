-- Which of a session's heads were pushed before: a captured delivery that is sent again under a new id names one.

CREATE INDEX push_attempt_head ON push_attempt (session_id, after_sha);
