-- A repository that is known to be public since it was renamed.
SELECT see_repository(provider_repo_id, repo_full_name || '-renamed', false) FROM repo_mapping WHERE state = 'active';
