"""GitHub's events in, reports out."""
