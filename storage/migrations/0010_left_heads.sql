-- Which of a session's heads were left by a push: one that arrives after its successor names one (A -> B -> A).

CREATE INDEX push_attempt_before ON push_attempt (session_id, before_sha);
