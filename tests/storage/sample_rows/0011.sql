-- It changes a function only.
SELECT 1;
