"""Pages of repositories: what is there, and the buttons "Fork" and "Use this template".

Everything shown comes from people and from git: names, messages and files may hold anything, and are escaped.
"""

from __future__ import annotations

import re

from aiohttp import web

from .core import Core
from .gitdata import Entry
from .lifecycle import Lifecycle
from .pages import Browsers, PageError, page_not_found, repo_href
from .state import Account, Repository

FILE_SHOWN = 1024 * 1024  # bytes
NAME_MAX = 100  # characters of a repository's name


class RepositorySight:
    """Finds the repository of a page, for whoever is signed in."""

    def __init__(self, core: Core, browsers: Browsers) -> None:
        self._core = core
        self._browsers = browsers

    def repository(self, request: web.Request) -> Repository:
        """Return the repository of the address; a page-not-found error if it is hidden from this person.

        HTTPMovedPermanently if it has another name now.
        """
        owner, name = request.match_info["owner"], request.match_info["repo"].removesuffix(".git")
        present = self._core.state.find(f"{owner}/{name}")
        record = present or self._core.state.find_moved(f"{owner}/{name}")
        if record is None or not record.readable_by(self._browsers.account(request)):
            raise page_not_found()
        if present is None or request.match_info["repo"].endswith(".git"):
            rest = request.path.split("/")[3:]
            raise web.HTTPMovedPermanently(repo_href(record, *rest))
        return record

    async def split(self, record: Repository, ref_and_path: str) -> tuple[str, str, str]:
        """Return (ref, commit sha, path) of an address that holds a ref, a slash and a path: refs have slashes too."""
        parts = ref_and_path.split("/")
        for end in range(len(parts), 0, -1):
            ref = "/".join(parts[:end])
            sha = await self._core.store.resolve(record.path, ref)
            if sha is not None:
                return ref, sha, "/".join(parts[end:])
        raise page_not_found()


class RepositoryPages:
    """Handlers of `/`, `/{login}` and `/{owner}/{repo}`, `/fork`, `/generate`, `/tree`, `/blob`."""

    def __init__(self, core: Core, browsers: Browsers, sight: RepositorySight, lifecycle: Lifecycle) -> None:
        self._core = core
        self._browsers = browsers
        self._sight = sight
        self._lifecycle = lifecycle

    def register(self, router: web.UrlDispatcher) -> None:
        """Mount the pages; after all others, because `/{owner}/{repo}` would take their addresses."""
        add, one = self._browsers.route, "/{owner}/{repo}"
        add(router, "GET", "/", self.front)
        add(router, "GET", "/{login}", self.person)
        add(router, "GET", one, self.show)
        add(router, "GET", f"{one}/fork", self.ask_fork)
        add(router, "POST", f"{one}/fork", self.fork)
        add(router, "GET", f"{one}/generate", self.ask_generate)
        add(router, "POST", f"{one}/generate", self.generate)
        add(router, "GET", f"{one}/tree/{{ref:.+}}", self.tree)
        add(router, "GET", f"{one}/blob/{{ref:.+}}", self.blob)

    # ------------------------------------------------------------------------------------------------ accounts

    async def front(self, request: web.Request) -> web.StreamResponse:
        """List the repositories that this person sees, and the App."""
        return self._listing(request, "Repositories", None)

    async def person(self, request: web.Request) -> web.StreamResponse:
        """List the repositories of one account."""
        account = self._core.state.accounts.get(request.match_info["login"].casefold())
        if account is None:
            raise page_not_found()
        return self._listing(request, account.login, account)

    def _listing(self, request: web.Request, title: str, owner: Account | None) -> web.Response:
        me = self._browsers.account(request)
        seen = [
            each
            for each in self._core.state.repositories.values()
            if each.readable_by(me) and (owner is None or each.owner.id == owner.id)
        ]
        app = self._core.registered
        shown = app if app is not None and (app.public or app.owned_by(me)) else None
        return self._browsers.page(request, "repositories.html", title=title, repositories=seen, app=shown)

    # ------------------------------------------------------------------------------------------------ one repository

    async def show(self, request: web.Request) -> web.StreamResponse:
        """Show lineage, branches, and what was reported about the default branch's head."""
        record = self._sight.repository(request)
        me, state = self._browsers.account(request), self._core.state
        refs = await self._core.git.refs(record.path, "refs/heads/")
        heads = {ref.removeprefix("refs/heads/"): sha for ref, sha in refs.items()}
        head = heads.get(record.default_branch)
        lineage = {"forked from": record.parent_id, "generated from": record.template_id}
        origins = [(words, state.repositories.get(number or 0)) for words, number in lineage.items()]
        return self._browsers.page(
            request,
            "repository.html",
            record=record,
            origins=[(words, each) for words, each in origins if each is not None and each.readable_by(me)],
            heads=heads,
            head=head,
            runs=state.runs_of(record, head) if head else [],
            statuses=state.statuses_of(record, head) if head else [],
        )

    # ------------------------------------------------------------------------------------------------ fork, template

    async def ask_fork(self, request: web.Request) -> web.StreamResponse:
        """Ask for the fork's name; who has a fork already is led to it."""
        record, account = self._sight.repository(request), self._browsers.require(request)
        existing = self._fork_of(record, account)
        if existing is not None:
            return web.Response(status=303, headers={"Location": repo_href(existing)})
        return self._browsers.page(request, "fork.html", record=record)

    def _fork_of(self, parent: Repository, account: Account) -> Repository | None:
        everything = self._core.state.repositories.values()
        mine = (each for each in everything if each.owner.id == account.id and each.parent_id == parent.id)
        return next(mine, None)

    async def fork(self, request: web.Request) -> web.StreamResponse:
        """Fork into the signed-in account and lead there."""
        record = self._sight.repository(request)
        account, fields = await self._browsers.form(request)
        existing = self._fork_of(record, account)
        if existing is None:
            existing = await self._lifecycle.fork(record, account, name_of(fields.get("name") or record.name))
        return web.Response(status=303, headers={"Location": repo_href(existing)})

    async def ask_generate(self, request: web.Request) -> web.StreamResponse:
        """Ask for the new repository's name."""
        record = self._template(request)
        self._browsers.require(request)
        return self._browsers.page(request, "generate.html", record=record)

    def _template(self, request: web.Request) -> Repository:
        record = self._sight.repository(request)
        if not record.is_template:
            raise page_not_found()
        return record

    async def generate(self, request: web.Request) -> web.StreamResponse:
        """Make a repository from the template for the signed-in account and lead there."""
        record = self._template(request)
        account, fields = await self._browsers.form(request)
        private = fields.get("visibility") == "private"
        made = await self._lifecycle.generate(record, account, name_of(fields.get("name", "")), private=private)
        return web.Response(status=303, headers={"Location": repo_href(made)})

    # ------------------------------------------------------------------------------------------------ files

    async def tree(self, request: web.Request) -> web.StreamResponse:
        """List a folder of a commit."""
        record = self._sight.repository(request)
        ref, sha, path = await self._sight.split(record, request.match_info["ref"])
        entries = await self._entries(record, sha, path)
        return self._browsers.page(request, "tree.html", record=record, ref=ref, path=path, entries=entries)

    async def _entries(self, record: Repository, sha: str, path: str) -> list[Entry]:
        tree = await self._core.store.resolve(record.path, sha, "tree")
        for name in [part for part in path.split("/") if part]:
            listed = await self._core.git.tree(record.path, str(tree))
            tree = next((each.sha for each in listed if each.path == name and each.type == "tree"), None)
            if tree is None:
                raise page_not_found()
        return await self._core.git.tree(record.path, str(tree))

    async def blob(self, request: web.Request) -> web.StreamResponse:
        """Show a file of a commit as text."""
        record = self._sight.repository(request)
        ref, sha, path = await self._sight.split(record, request.match_info["ref"])
        folder, _, name = path.rpartition("/")
        for entry in await self._entries(record, sha, folder):
            if entry.path == name and entry.type == "blob":
                found = await self._core.store.read(record.path, entry.sha)
                text = found.data[:FILE_SHOWN].decode(errors="replace") if found is not None else ""
                return self._browsers.page(request, "blob.html", record=record, ref=ref, path=path, text=text)
        raise page_not_found()


def name_of(wanted: str) -> str:
    """Return a repository's name as GitHub would make it of what was typed; PageError if nothing is left."""
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", wanted.strip()).removesuffix(".git")[:NAME_MAX]
    if not name.strip("-.") or name in {".", ".."}:
        raise PageError(422, "New repository name must not be blank", "Go back and type a name.")
    return name
