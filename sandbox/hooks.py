"""Events of accounts, installations and repositories -> payloads of deliveries."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .core import Core
from .present import installation, node_id, organization, repository, user
from .state import Account, Installation, Repository

# GitHub docs: every App receives these without a subscription; checks events come with the permission.
_ALWAYS = frozenset({"installation", "installation_repositories", "installation_target", "github_app_authorization"})
_WITH_CHECKS = frozenset({"check_run", "check_suite"})


class Events:
    """Builds payloads and hands them to the delivery log, for installations that cover and subscribe."""

    def __init__(self, core: Core) -> None:
        self._core = core

    def of_repository(
        self,
        event: str,
        action: str | None,
        record: Repository,
        sender: Account,
        extra: dict[str, Any],
        *,
        shown: dict[str, Any] | None = None,
        receiver: Installation | None = None,
    ) -> None:
        """Send an event of a repository to the installation that covers it, if there is one that wants it.

        `shown` replaces the payload's `repository`; `receiver` is an installation that covered it until now.
        """
        target = receiver or self._core.state.installation_on(record)
        if target is None or target.suspended_at is not None or not _wants(target, event):
            return
        payload: dict[str, Any] = {} if action is None else {"action": action}
        payload |= extra
        payload["repository"] = shown or repository(self._core, record)
        if record.owner.kind == "Organization":
            payload["organization"] = organization(self._core, record.owner)
        payload["sender"] = user(self._core, sender)
        payload["installation"] = {
            "id": target.id, "node_id": node_id("IntegrationInstallation", target.id),
        }  # fmt: skip
        self._core.deliveries.emit(event, action, payload, installation_id=target.id, repository_id=record.id)

    def of_installation(
        self, action: str, record: Installation, sender: Account, repositories: Sequence[Repository] | None = None
    ) -> None:
        """Send an `installation` event; `created` and `deleted` name the repositories."""
        payload: dict[str, Any] = {"action": action, "installation": installation(self._core, record)}
        if repositories is not None:
            payload["repositories"] = [_named(each) for each in repositories]
        payload["requester"] = None
        payload["sender"] = user(self._core, sender)
        self._core.deliveries.emit("installation", action, payload, installation_id=record.id)

    def of_target(self, account: Account, changes: dict[str, Any]) -> None:
        """Send `installation_target` renamed to the installation on the account, if there is one."""
        found = [each for each in self._core.state.installations.values() if each.account.id == account.id]
        for target in found:
            payload = {
                "action": "renamed",
                "account": user(self._core, account),
                "changes": changes,
                "target_type": account.kind,
                "sender": user(self._core, account),
                "installation": {"id": target.id, "node_id": node_id("IntegrationInstallation", target.id)},
            }
            self._core.deliveries.emit("installation_target", "renamed", payload, installation_id=target.id)

    def of_authorization(self, account: Account) -> None:
        """Send `github_app_authorization` revoked: of a person, so that it names no installation."""
        payload = {"action": "revoked", "sender": user(self._core, account)}
        self._core.deliveries.emit("github_app_authorization", "revoked", payload)

    def ping(self) -> None:
        """Send `ping`, as GitHub does when an App gets its webhook."""
        app, hook = self._core.app, self._core.deliveries
        made = app.created_at.strftime("%Y-%m-%dT%H:%M:%SZ")
        config = {"content_type": hook.content_type, "insecure_ssl": hook.insecure_ssl, "url": hook.url}
        number = hook.app_id + 400_000_000  # as in the headers of its deliveries
        shown = {
            "type": "App", "id": number, "name": "web", "active": hook.active, "events": sorted(app.events),
            "config": config, "updated_at": made, "created_at": made, "app_id": app.id,
            "deliveries_url": f"{self._core.url}/api/v3/app/hook/deliveries",
        }  # fmt: skip
        payload = {"zen": "Keep it logically awesome.", "hook_id": number, "hook": shown}
        hook.emit("ping", None, payload | {"sender": user(self._core, app.owner)})

    def of_selection(
        self, record: Installation, sender: Account, added: Sequence[Repository], removed: Sequence[Repository]
    ) -> None:
        """Send `installation_repositories` deliveries: one for what was added, one for what was removed."""
        for action, ins, outs in (("added", added, ()), ("removed", (), removed)):
            if ins or outs:
                payload = {
                    "action": action,
                    "installation": installation(self._core, record),
                    "repository_selection": record.selection,
                    "repositories_added": [_named(each) for each in ins],
                    "repositories_removed": [_named(each) for each in outs],
                    "requester": None,
                    "sender": user(self._core, sender),
                }
                self._core.deliveries.emit("installation_repositories", action, payload, installation_id=record.id)


def _wants(target: Installation, event: str) -> bool:
    if event in _ALWAYS:
        return True
    if event in _WITH_CHECKS:
        return "checks" in target.permissions
    return event in target.events


def _named(record: Repository) -> dict[str, Any]:
    return {
        "id": record.id,
        "node_id": node_id("Repository", record.id),
        "name": record.name,
        "full_name": record.full_name,
        "private": record.private,
    }
