"""Speaking to GitHub: the only package that knows GitHub's addresses. All that it raises is a `errors.GitHubError`."""
