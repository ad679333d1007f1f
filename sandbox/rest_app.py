"""Operations of the App itself: identity, hook, delivery log, installations, tokens, manifest."""

from __future__ import annotations

from typing import Any

import orjson

from .auth import Authenticator, narrower, suspended
from .core import Core
from .deliveries import Attempt, Delivery
from .errors import ApiError, SandboxError, invalid_request, not_found, validation_failed
from .fields import page_of, paged
from .lifecycle import Lifecycle
from .present import installation, integration, repository, when
from .registration import Registrar
from .rest import Call, Operation, Reply
from .state import Installation

_HIDDEN = "********"
_CURSOR_MARK = "v1_"


class AppOperations:
    """Handlers of `/app`, `/installation`, `/app-manifests`."""

    def __init__(self, core: Core, auth: Authenticator, lifecycle: Lifecycle, registrar: Registrar) -> None:
        self._core = core
        self._auth = auth
        self._lifecycle = lifecycle
        self._registrar = registrar

    def operations(self) -> list[Operation]:
        """Return the operations and what each needs."""
        one = "/app/installations/{installation_id}"
        delivery = "/app/hook/deliveries/{delivery_id}"
        return [
            Operation("GET", "/app", self.app, "app"),
            Operation("GET", "/app/hook/config", self.hook, "app"),
            Operation("PATCH", "/app/hook/config", self.change_hook, "app"),
            Operation("GET", "/app/hook/deliveries", self.deliveries, "app"),
            Operation("GET", delivery, self.delivery, "app"),
            Operation("POST", f"{delivery}/attempts", self.redeliver, "app"),
            Operation("GET", "/app/installations", self.installations, "app"),
            Operation("GET", one, self.installation, "app"),
            Operation("DELETE", one, self.uninstall, "app"),
            Operation("POST", f"{one}/access_tokens", self.token, "app"),
            Operation("GET", "/repos/{owner}/{repo}/installation", self.repository_installation, "app"),
            Operation("GET", "/installation/repositories", self.repositories, "installation"),
            Operation("DELETE", "/installation/token", self.revoke, "installation"),
            Operation("POST", "/app-manifests/{code}/conversions", self.convert, "anyone"),
        ]

    async def app(self, _call: Call) -> Reply:
        """GET /app."""
        shown = integration(self._core) | {"installations_count": len(self._core.state.installations)}
        return Reply(shown)

    # ------------------------------------------------------------------------------------------------ hook

    async def hook(self, _call: Call) -> Reply:
        """GET /app/hook/config: the secret is never shown."""
        deliveries = self._core.deliveries
        shown = {"content_type": deliveries.content_type, "insecure_ssl": deliveries.insecure_ssl}
        if deliveries.secret:
            shown["secret"] = _HIDDEN
        if self._core.deliveries.url is not None:
            shown["url"] = self._core.deliveries.url
        return Reply(shown)

    async def change_hook(self, call: Call) -> Reply:
        """PATCH /app/hook/config: address, secret, content type."""
        url, secret = call.body.get("url"), call.body.get("secret")
        if url is not None:
            if not isinstance(url, str) or not url.startswith(("http://", "https://")):
                raise validation_failed("Hook", "url", "url is not a valid URL")
            self._core.deliveries.url = url
        if call.body.get("content_type") in {"json", "form"}:
            self._core.deliveries.content_type = call.body["content_type"]
        if str(call.body.get("insecure_ssl")) in {"0", "1"}:
            self._core.deliveries.insecure_ssl = str(call.body["insecure_ssl"])
        if secret is not None:
            self._core.deliveries.secret = str(secret)
        return await self.hook(call)

    async def deliveries(self, call: Call) -> Reply:
        """GET /app/hook/deliveries: every attempt is an item, newest first; pages by cursor."""
        _, per_page = page_of(call)
        wanted = call.query.get("status")
        items = [
            (attempt, delivery)
            for delivery in self._core.deliveries.log
            for attempt in delivery.attempts
            if wanted is None or (wanted == "success") == (attempt.status == "OK")
        ]
        items.sort(key=lambda item: -item[0].id)
        cursor = call.query.get("cursor")
        if cursor is not None:
            number = cursor.removeprefix(_CURSOR_MARK)
            if not number.isdigit():
                raise ApiError(400, "Invalid cursor")
            items = [item for item in items if item[0].id < int(number)]
        page = items[:per_page]
        headers = {}
        if len(items) > per_page:
            url = call.request.rel_url.update_query(cursor=f"{_CURSOR_MARK}{page[-1][0].id}")
            headers["Link"] = f'<{self._core.url}{url}>; rel="next"'
        return Reply([_item(attempt, delivery) for attempt, delivery in page], headers=headers)

    def _find(self, call: Call) -> tuple[Attempt, Delivery]:
        wanted = int(call.path["delivery_id"])
        delivery = self._core.deliveries.find(wanted)
        for attempt in delivery.attempts if delivery else ():
            if attempt.id == wanted and delivery is not None:
                return attempt, delivery
        raise not_found()

    async def delivery(self, call: Call) -> Reply:
        """GET /app/hook/deliveries/{id}: with payload and answer."""
        attempt, delivery = self._find(call)
        shown = _item(attempt, delivery) | {
            "url": delivery.url or "",
            "request": {"headers": delivery.headers, "payload": orjson.loads(delivery.payload)},
            "response": {"headers": attempt.response_headers, "payload": attempt.response_payload},
        }
        return Reply(shown)

    async def redeliver(self, call: Call) -> Reply:
        """POST /app/hook/deliveries/{id}/attempts."""
        attempt, _ = self._find(call)
        self._core.deliveries.redeliver(attempt.id)
        return Reply({}, 202)

    # ------------------------------------------------------------------------------------------------ installations

    def _installation(self, call: Call) -> Installation:
        try:
            return self._core.state.installation(int(call.path["installation_id"]))
        except SandboxError:
            raise not_found() from None

    async def installations(self, call: Call) -> Reply:
        """GET /app/installations."""
        page, headers = paged(call, list(self._core.state.installations.values()))
        return Reply([installation(self._core, each) for each in page], headers=headers)

    async def installation(self, call: Call) -> Reply:
        """GET /app/installations/{id}."""
        return Reply(installation(self._core, self._installation(call)))

    async def uninstall(self, call: Call) -> Reply:
        """DELETE /app/installations/{id}: the App leaves; the `installation` deleted event is sent."""
        self._lifecycle.uninstall(self._installation(call), self._core.app.bot)
        return Reply(status=204)

    async def repository_installation(self, call: Call) -> Reply:
        """GET /repos/{owner}/{repo}/installation."""
        found = self._core.state.installation_on(call.repository)
        if found is None:
            raise not_found()
        return Reply(installation(self._core, found))

    async def token(self, call: Call) -> Reply:
        """POST /app/installations/{id}/access_tokens, narrowed to repositories and permissions if asked."""
        record = self._installation(call)
        if record.suspended_at is not None:
            raise suspended()
        wanted = self._narrowed(call.body, record)
        permissions = call.body.get("permissions")
        if permissions is not None and not isinstance(permissions, dict):
            raise invalid_request("For 'properties/permissions', it is not an object.")
        if permissions and not narrower(permissions, record.permissions):
            raise ApiError(422, "The permissions requested are not granted to this installation.")
        token = self._auth.issue(record, wanted, permissions or record.permissions)
        shown: dict[str, Any] = {
            "token": token.value,
            "expires_at": when(token.expires_at),
            "permissions": dict(token.permissions),
            "repository_selection": "selected" if wanted is not None else record.selection,
        }
        if wanted is not None:
            found = [self._core.state.repositories[number] for number in sorted(wanted)]
            shown["repositories"] = [repository(self._core, each) for each in found]
        return Reply(shown, 201)

    def _narrowed(self, body: dict[str, Any], record: Installation) -> frozenset[int] | None:
        names, ids = body.get("repositories"), body.get("repository_ids")
        if names is None and ids is None:
            return None
        covered = self._core.state.repositories_of(record)
        by_key: dict[object, int] = {each.id: each.id for each in covered}
        by_key |= {each.name.casefold(): each.id for each in covered}
        keys = [key.casefold() if isinstance(key, str) else key for key in [*(names or []), *(ids or [])]]
        if any(key not in by_key for key in keys):
            raise ApiError(
                422,
                "There is at least one repository that does not exist or is not accessible to the parent installation.",
            )
        return frozenset(by_key[key] for key in keys)

    async def repositories(self, call: Call) -> Reply:
        """GET /installation/repositories."""
        token = call.actor.token
        if token is None:
            raise not_found()
        record = self._core.state.installations[token.installation_id]
        covered = [each for each in self._core.state.repositories_of(record) if self._auth.holds(call.actor, each)]
        page, headers = paged(call, covered)
        shown = [repository(self._core, each) for each in page]
        selection = "selected" if token.repository_ids is not None else record.selection
        body = {"total_count": len(covered), "repository_selection": selection, "repositories": shown}
        return Reply(body, headers=headers)

    async def revoke(self, call: Call) -> Reply:
        """DELETE /installation/token."""
        if call.actor.token is not None:
            self._auth.revoke(call.actor.token)
        return Reply(status=204)

    # ------------------------------------------------------------------------------------------------ manifest

    async def convert(self, call: Call) -> Reply:
        """POST /app-manifests/{code}/conversions: hand out the registered App's secrets, once per code."""
        app = self._registrar.redeem(call.path["code"])
        if app is None:
            raise not_found()
        secret_fields = {
            "client_id": app.client_id,
            "client_secret": app.client_secret,
            "webhook_secret": self._core.deliveries.secret,
            "pem": app.private_key_pem,
        }
        return Reply(integration(self._core) | secret_fields, 201)


def _item(attempt: Attempt, delivery: Delivery) -> dict[str, Any]:
    return {
        "id": attempt.id,
        "guid": delivery.guid,
        "delivered_at": when(attempt.at),
        "redelivery": attempt.redelivery,
        "duration": attempt.duration,
        "status": attempt.status,
        "status_code": attempt.status_code,
        "event": delivery.event,
        "action": delivery.action,
        "installation_id": delivery.installation_id,
        "repository_id": delivery.repository_id,
        "throttled_at": when(attempt.throttled_at) if attempt.throttled_at else None,
    }
