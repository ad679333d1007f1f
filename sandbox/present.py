"""Records as GitHub's API shows them: accounts, repositories, the App, installations."""

from __future__ import annotations

import base64
from datetime import UTC, datetime
from typing import Any

from .core import Core
from .state import Account, Installation, Repository

# Suffixes of a repository's URL fields, from GitHub's OpenAPI description of "repository".
_REPOSITORY_URLS = {
    "archive_url": "/{archive_format}{/ref}",
    "assignees_url": "/assignees{/user}",
    "blobs_url": "/git/blobs{/sha}",
    "branches_url": "/branches{/branch}",
    "collaborators_url": "/collaborators{/collaborator}",
    "comments_url": "/comments{/number}",
    "commits_url": "/commits{/sha}",
    "compare_url": "/compare/{base}...{head}",
    "contents_url": "/contents/{+path}",
    "contributors_url": "/contributors",
    "deployments_url": "/deployments",
    "downloads_url": "/downloads",
    "events_url": "/events",
    "forks_url": "/forks",
    "git_commits_url": "/git/commits{/sha}",
    "git_refs_url": "/git/refs{/sha}",
    "git_tags_url": "/git/tags{/sha}",
    "hooks_url": "/hooks",
    "issue_comment_url": "/issues/comments{/number}",
    "issue_events_url": "/issues/events{/number}",
    "issues_url": "/issues{/number}",
    "keys_url": "/keys{/key_id}",
    "labels_url": "/labels{/name}",
    "languages_url": "/languages",
    "merges_url": "/merges",
    "milestones_url": "/milestones{/number}",
    "notifications_url": "/notifications{?since,all,participating}",
    "pulls_url": "/pulls{/number}",
    "releases_url": "/releases{/id}",
    "stargazers_url": "/stargazers",
    "statuses_url": "/statuses/{sha}",
    "subscribers_url": "/subscribers",
    "subscription_url": "/subscription",
    "tags_url": "/tags",
    "teams_url": "/teams",
    "trees_url": "/git/trees{/sha}",
}
_USER_URLS = {
    "followers_url": "/followers",
    "following_url": "/following{/other_user}",
    "gists_url": "/gists{/gist_id}",
    "starred_url": "/starred{/owner}{/repo}",
    "subscriptions_url": "/subscriptions",
    "organizations_url": "/orgs",
    "repos_url": "/repos",
    "events_url": "/events{/privacy}",
    "received_events_url": "/received_events",
}


def when(at: datetime) -> str:
    """Return a time as GitHub writes it: UTC, whole seconds, Z."""
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def node_id(kind: str, number: object) -> str:
    """Return an opaque GraphQL id, of the old documented form."""
    return base64.b64encode(f"0{len(kind)}:{kind}{number}".encode()).decode()


def user(core: Core, account: Account) -> dict[str, Any]:
    """Return the account as OpenAPI's "simple-user"."""
    api = f"{core.api_url}/users/{account.login}"
    return {
        "login": account.login,
        "id": account.id,
        "node_id": node_id("User", account.id),
        "avatar_url": f"{core.url}/avatars/u/{account.id}?v=4",
        "gravatar_id": "",
        "url": api,
        "html_url": f"{core.url}/{account.login}",
        **{key: f"{api}{suffix}" for key, suffix in _USER_URLS.items()},
        "type": account.kind,
        "user_view_type": "public",
        "site_admin": False,
    }


def organization(core: Core, account: Account) -> dict[str, Any]:
    """Return the organisation as webhook payloads name it."""
    api = f"{core.api_url}/orgs/{account.login}"
    return {
        "login": account.login,
        "id": account.id,
        "node_id": node_id("Organization", account.id),
        "url": api,
        "repos_url": f"{api}/repos",
        "events_url": f"{api}/events",
        "hooks_url": f"{api}/hooks",
        "issues_url": f"{api}/issues",
        "members_url": f"{api}/members{{/member}}",
        "public_members_url": f"{api}/public_members{{/member}}",
        "avatar_url": f"{core.url}/avatars/u/{account.id}?v=4",
        "description": "",
    }


def api_of(core: Core, repository: Repository) -> str:
    """Return the repository's REST address."""
    return f"{core.api_url}/repos/{repository.full_name}"


def html_of(core: Core, repository: Repository) -> str:
    """Return the repository's web address."""
    return f"{core.url}/{repository.full_name}"


def minimal_repository(core: Core, repository: Repository) -> dict[str, Any]:
    """Return the fields that every shape of a repository has."""
    api, html = api_of(core, repository), html_of(core, repository)
    forks = core.state.fork_counts[repository.id]
    return {
        "id": repository.id,
        "node_id": node_id("Repository", repository.id),
        "name": repository.name,
        "full_name": repository.full_name,
        "private": repository.private,
        "owner": user(core, repository.owner),
        "html_url": html,
        "description": repository.description,
        "fork": repository.fork,
        "url": api,
        **{key: f"{api}{suffix}" for key, suffix in _REPOSITORY_URLS.items()},
        "created_at": when(repository.created_at),
        "updated_at": when(repository.updated_at),
        "pushed_at": when(repository.pushed_at),
        "git_url": html.replace("http://", "git://") + ".git",
        "ssh_url": f"ssh://git@{core.url.removeprefix('http://')}/{repository.full_name}.git",
        "clone_url": f"{html}.git",
        "svn_url": html,
        "homepage": None,
        "size": 0,
        "stargazers_count": 0,
        "watchers_count": 0,
        "language": None,
        "has_issues": not repository.fork,
        "has_projects": True,
        "has_downloads": True,
        "has_wiki": True,
        "has_pages": False,
        "has_discussions": False,
        "forks_count": forks,
        "mirror_url": None,
        "archived": repository.archived,
        "disabled": False,
        "open_issues_count": 0,
        "license": None,
        "allow_forking": True,
        "is_template": repository.is_template,
        "web_commit_signoff_required": False,
        "topics": [],
        "visibility": "private" if repository.private else "public",
        "forks": forks,
        "open_issues": 0,
        "watchers": 0,
        "default_branch": repository.default_branch,
    }


def profile(core: Core, account: Account, *, private: bool = False) -> dict[str, Any]:
    """Return the account as the single GET shows it (OpenAPI's "public-user"); `private`: to itself."""
    owned = [each for each in core.state.repositories.values() if each.owner.id == account.id and not each.private]
    shown = user(core, account) | {
        "name": None,
        "company": None,
        "blog": "",
        "location": None,
        "email": None,
        "hireable": None,
        "bio": None,
        "public_repos": len(owned),
        "public_gists": 0,
        "followers": 0,
        "following": 0,
        "created_at": when(account.created_at),
        "updated_at": when(account.created_at),
    }
    return shown | {"user_view_type": "private"} if private else shown


def repository(core: Core, record: Repository) -> dict[str, Any]:
    """Return the repository as lists show it: nothing of its lineage but `fork`."""
    return minimal_repository(core, record)


def full_repository(core: Core, record: Repository, permissions: dict[str, bool]) -> dict[str, Any]:
    """Return the repository as the single GET shows it, with parent, source and template where they still exist."""
    shown = minimal_repository(core, record)
    shown |= {
        "permissions": permissions,
        "temp_clone_token": None,
        "custom_properties": {},
        "network_count": shown["forks_count"],
        "subscribers_count": 0,
    }
    if record.owner.kind == "Organization":
        shown["organization"] = user(core, record.owner)
    lineage = {
        "parent": record.parent_id, "source": record.source_id, "template_repository": record.template_id,
    }  # fmt: skip
    for key, other_id in lineage.items():
        other = core.state.repositories.get(other_id or 0)
        if other is not None:
            shown[key] = minimal_repository(core, other)
    return shown


def integration(core: Core, app_id: int | None = None) -> dict[str, Any]:
    """Return the App (None: the registered one) as checks and `GET /app` show it."""
    app = core.app_of(app_id)
    return {
        "id": app.id,
        "slug": app.slug,
        "client_id": app.client_id,
        "node_id": node_id("App", app.id),
        "owner": user(core, app.owner),
        "name": app.name or app.slug,
        "description": app.description,
        "external_url": app.external_url or core.url,
        "html_url": f"{core.url}/apps/{app.slug}",
        "created_at": when(app.created_at),
        "updated_at": when(app.created_at),
        "permissions": dict(app.permissions),
        "events": list(app.events),
    }


def installation(core: Core, record: Installation) -> dict[str, Any]:
    """Return the installation as the API and webhook payloads show it."""
    account = record.account
    place = f"organizations/{account.login}/settings" if account.kind == "Organization" else "settings"
    app = core.app
    return {
        "id": record.id,
        "client_id": app.client_id,
        "account": user(core, account),
        "repository_selection": record.selection,
        "access_tokens_url": f"{core.api_url}/app/installations/{record.id}/access_tokens",
        "repositories_url": f"{core.api_url}/installation/repositories",
        "html_url": f"{core.url}/{place}/installations/{record.id}",
        "app_id": app.id,
        "app_slug": app.slug,
        "target_id": account.id,
        "target_type": account.kind,
        "permissions": dict(record.permissions),
        "events": list(record.events),
        "created_at": when(record.created_at),
        "updated_at": when(record.updated_at),
        "single_file_name": None,
        "has_multiple_single_files": False,
        "single_file_paths": [],
        "suspended_by": user(core, record.suspended_by) if record.suspended_by else None,
        "suspended_at": when(record.suspended_at) if record.suspended_at else None,
    }
