UPDATE outbox SET repeats = 1, asked_at = now(), asked_by = 1, restored = 2, restored_since = now(), status_over = true;
SELECT ask_again(501, repeat('c', 40), 7, true, interval '10 s', interval '30 s');
