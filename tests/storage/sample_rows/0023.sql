-- Somebody who was only invited, by a login that nobody was seen under, and is forgotten.
INSERT INTO invitation (lab_id, login) SELECT lab_id, 'learner-forgotten' FROM lab LIMIT 1;
SELECT forget_account(NULL, 'learner-forgotten', '{}', false);
