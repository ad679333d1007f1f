"""Registering an App: what a manifest may say, and the record that comes of it.

Fields: GitHub docs, "Registering a GitHub App from a manifest". A sandbox holds one App at a time.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from .core import AppIdentity, Core, new_private_key
from .errors import SandboxError
from .state import Account

CODE_LIFETIME = 3600.0  # seconds from registration to conversion; GitHub docs, as above
NAME_MAX = 34  # characters; GitHub docs, "Registering a GitHub App"
CALLBACKS_MAX = 10  # GitHub docs, "About the user authorization callback URL"
LEVELS = ("read", "write", "admin")
# Permissions of repositories, organisations and accounts; GitHub's OpenAPI description, "app-permissions".
_PERMISSIONS = """
    actions administration artifact_metadata attestations checks code_quality codespaces contents
    custom_properties_for_organizations dependabot_secrets deployments discussions email_addresses
    enterprise_custom_properties_for_organizations environments followers git_ssh_keys gpg_keys interaction_limits
    issues members merge_queues metadata organization_administration organization_announcement_banners
    organization_copilot_agent_settings organization_copilot_seat_management organization_custom_org_roles
    organization_custom_properties organization_custom_roles organization_events organization_hooks
    organization_packages organization_personal_access_token_requests organization_personal_access_tokens
    organization_plan organization_projects organization_secrets organization_self_hosted_runners
    organization_user_blocking packages pages profile pull_requests repository_custom_properties repository_hooks
    repository_projects secret_scanning_alerts secrets security_events single_file starring statuses
    vulnerability_alerts workflows
"""
PERMISSIONS = frozenset(_PERMISSIONS.split())
# Event -> the permission without which nobody may subscribe; GitHub docs, "Webhook events and payloads".
EVENTS = {
    "branch_protection_rule": "administration", "check_run": "checks", "check_suite": "checks",
    "commit_comment": "contents", "create": "contents", "delete": "contents", "deployment": "deployments",
    "deployment_status": "deployments", "discussion": "discussions", "discussion_comment": "discussions",
    "fork": "contents", "gollum": "contents", "issue_comment": "issues", "issues": "issues", "label": "metadata",
    "member": "members", "membership": "members", "merge_group": "merge_queues", "milestone": "issues",
    "organization": "members", "page_build": "pages", "public": "metadata", "pull_request": "pull_requests",
    "pull_request_review": "pull_requests", "pull_request_review_comment": "pull_requests", "push": "contents",
    "release": "contents", "repository": "metadata", "repository_dispatch": "contents", "star": "metadata",
    "status": "statuses", "team": "members", "team_add": "members", "watch": "metadata",
    "workflow_dispatch": "contents", "workflow_job": "actions", "workflow_run": "actions",
}  # fmt: skip


class ManifestError(SandboxError):
    """The manifest cannot become an App: the fault of who wrote it. The text names the field."""


@dataclass(frozen=True, slots=True)
class Manifest:
    """A manifest that was checked. `hook_url` None: the App has no webhook."""

    name: str
    url: str
    description: str
    redirect_url: str
    callback_urls: tuple[str, ...]
    setup_url: str | None
    setup_on_update: bool
    request_oauth_on_install: bool
    public: bool
    hook_url: str | None
    hook_active: bool
    permissions: Mapping[str, str]
    events: tuple[str, ...]


def read_manifest(raw: Any) -> Manifest:
    """Check a manifest (parsed JSON); ManifestError names the first thing that GitHub would refuse."""
    if not isinstance(raw, dict):
        raise ManifestError("the manifest is not a JSON object")
    hook = raw.get("hook_attributes")
    if hook is not None and not isinstance(hook, dict):
        raise ManifestError('"hook_attributes" is not an object')
    callbacks = raw.get("callback_urls") or []
    if not isinstance(callbacks, list) or len(callbacks) > CALLBACKS_MAX:
        raise ManifestError(f'"callback_urls" is not a list of at most {CALLBACKS_MAX} addresses')
    permissions = _permissions(raw.get("default_permissions") or {})
    return Manifest(
        name=_name(raw.get("name", "")),
        url=_address(raw, "url"),
        description=_text(raw, "description"),
        redirect_url=_address(raw, "redirect_url"),
        callback_urls=tuple(_address({"callback_urls": each}, "callback_urls") for each in callbacks),
        setup_url=_address(raw, "setup_url") if raw.get("setup_url") else None,
        setup_on_update=_flag(raw, "setup_on_update", default=False),
        request_oauth_on_install=_flag(raw, "request_oauth_on_install", default=False),
        public=_flag(raw, "public", default=False),
        hook_url=None if hook is None else _address(hook, "url", "hook_attributes.url"),
        hook_active=hook is not None and _flag(hook, "active", default=True),
        permissions=permissions,
        events=_events(raw.get("default_events") or [], permissions),
    )


def _text(raw: Mapping[str, Any], key: str) -> str:
    value = raw.get(key, "")
    if not isinstance(value, str):
        raise ManifestError(f'"{key}" is not text')
    return value


def _flag(raw: Mapping[str, Any], key: str, *, default: bool) -> bool:
    value = raw.get(key, default)
    if not isinstance(value, bool):
        raise ManifestError(f'"{key}" is neither true nor false')
    return value


def _name(value: Any) -> str:
    if not isinstance(value, str) or len(value) > NAME_MAX:
        raise ManifestError(f'"name" is not a text of at most {NAME_MAX} characters')
    return value.strip()


def _address(raw: Mapping[str, Any], key: str, shown: str = "") -> str:
    value = raw.get(key)
    if value is None or value == "":
        raise ManifestError(f'"{shown or key}" wasn\'t supplied')
    try:
        parts = urlsplit(value) if isinstance(value, str) else None
    except ValueError:
        parts = None
    if parts is None or parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ManifestError(f'"{shown or key}" must be a valid URL: {value!r}')
    return str(value)


def _permissions(raw: Any) -> dict[str, str]:
    if not isinstance(raw, dict):
        raise ManifestError('"default_permissions" is not an object')
    for name, level in raw.items():
        if name not in PERMISSIONS:
            raise ManifestError(f'"default_permissions": {name!r} is no permission')
        if level not in LEVELS:
            raise ManifestError(f'"default_permissions": {name} is {level!r}, not one of {", ".join(LEVELS)}')
    return {"metadata": "read"} | raw  # GitHub docs: metadata comes with any permission of a repository


def _events(raw: Any, permissions: Mapping[str, str]) -> tuple[str, ...]:
    if not isinstance(raw, list):
        raise ManifestError('"default_events" is not a list')
    for event in raw:
        if event not in EVENTS:
            raise ManifestError(f'"default_events": {event!r} is no event that an App can subscribe to')
        if EVENTS[event] not in permissions:
            raise ManifestError(f'"default_events": {event} needs the permission {EVENTS[event]!r}')
    return tuple(raw)


def slug_of(name: str) -> str:
    """Return the name as it stands in addresses."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


class Registrar:
    """Registers Apps and hands out their credentials, once per code."""

    def __init__(self, core: Core, private_key_pem: str | None) -> None:
        self._core = core
        self._key = private_key_pem

    def register(self, manifest: Manifest, owner: Account, name: str = "") -> AppIdentity:
        """Register the App with new secrets; ManifestError if the name is empty or taken, or there is an App."""
        core, name = self._core, _name(name or manifest.name)
        slug = slug_of(name)
        if not slug:
            raise ManifestError('"name" must be given')
        if core.registered is not None:
            raise ManifestError(
                f"a sandbox holds one App at a time, and has {core.app.name!r}: delete that one on its settings page"
            )
        if slug in core.state.accounts:
            raise ManifestError(f"Name {name!r} is already taken")
        bot = core.state.accounts.get(f"{slug}[bot]") or core.state.add_account(f"{slug}[bot]", "Bot", core.now())
        app = AppIdentity(
            id=next(core.state.app_ids),
            slug=slug,
            client_id=new_client_id(),
            client_secret=secrets.token_hex(20),
            private_key_pem=self._key or new_private_key(),
            owner=owner,
            bot=bot,
            created_at=core.now(),
            permissions=dict(manifest.permissions),
            events=list(manifest.events),
            name=name,
            description=manifest.description,
            external_url=manifest.url,
            callback_urls=list(manifest.callback_urls),
            setup_url=manifest.setup_url,
            setup_on_update=manifest.setup_on_update,
            request_oauth_on_install=manifest.request_oauth_on_install,
            public=manifest.public,
        )
        core.registered = app
        hook = core.deliveries
        hook.app_id, hook.url, hook.active = app.id, manifest.hook_url, manifest.hook_active
        hook.secret = secrets.token_hex(20)
        return app

    def delete(self) -> None:
        """Forget the App with its installations; nothing is sent any more."""
        for installation in list(self._core.state.installations.values()):
            self._core.state.remove_installation(installation)
        self._core.manifest_codes.clear()
        self._core.registered = None

    def new_code(self) -> str:
        """Return a code for the credentials of the registered App: it works once, for an hour."""
        code = secrets.token_hex(20)
        self._core.manifest_codes[code] = self._core.clock() + CODE_LIFETIME
        return code

    def redeem(self, code: str) -> AppIdentity | None:
        """Return the App that the code stands for; None if it is unknown, used or too old."""
        end = self._core.manifest_codes.pop(code, None)
        if end is None or end <= self._core.clock():
            return None
        return self._core.registered


def new_client_id() -> str:
    """Return a client id of the form that GitHub gives to Apps."""
    return f"Iv23li{secrets.token_hex(7)}"
