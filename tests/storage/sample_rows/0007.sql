-- This migration holds functions only; the template's newest commit is recorded by one of them.
SELECT record_template_commits(lab_id, jsonb_build_array(
    jsonb_build_object('commit_sha', repeat('e', 40), 'tree_sha', repeat('f', 40)))) FROM lab;
