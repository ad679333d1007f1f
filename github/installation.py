"""The client of one installation: what the App reads from repositories and writes to them."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping
from typing import Any
from urllib.parse import quote, urlencode

from github import answers
from github.access import Access
from github.answers import read
from github.errors import NotFound, Rejected, StatusesExhausted, TooLarge, Transient, UnknownOutcome
from github.tokens import Token
from github.transport import MAX_BODY, Answer, Request, Transport
from github.values import Commit, Comparison, Offer, RawEntry, RepositoryCondition, TreeAnswer
from rules.lifecycle import Listed
from rules.model import Account, CheckRunReport, Lineage, Repo, StatusReport

# A file whose content is judged has at most 1 MiB (steps.md, conditions); base64 with line breaks and JSON around it.
MAX_BLOB = 1024 * 1024
_MAX_BLOB_ANSWER = MAX_BLOB * 3 // 2

_MAX_PAGES = 1000
_REGULAR = ("100644", "100755")  # git's modes of files that are no links

# "This SHA and context has reached the maximum number of statuses."
_TOO_MANY_STATUSES = "maximum number of statuses"

_OWNER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]{0,99}")  # logins of managed users contain "_"
_NAME = re.compile(r"[A-Za-z0-9._-]{1,100}")
_SHA = re.compile(r"[0-9a-f]{40}")


class InstallationClient:
    """Reads and writes with the token of one installation. Made by `GitHubApp.installation`."""

    def __init__(
        self,
        installation_id: int,
        *,
        app_id: int,
        transport: Transport,
        mint: Callable[[Mapping[str, str]], Coroutine[Any, Any, Token]],
        now: Callable[[], float],
        sleep: Callable[[float], Awaitable[None]],
    ) -> None:
        self.installation_id = installation_id
        self._app_id = app_id
        self._access = Access(installation_id, transport, mint, now=now, sleep=sleep)

    def forget_token(self) -> None:
        """The installation's state, permissions or repositories changed: the next request is sent, with a new token."""
        self._access.renew()

    def needs(self, permissions: Mapping[str, str]) -> None:
        """Ask for these permissions too, from the next token on (where the installation was granted them)."""
        self._access.needs(permissions)

    # --------------------------------------------------------------------------------------------------- repositories

    async def repository(self, full_name: str) -> tuple[Repo, Lineage]:
        """A repository by name (an old name leads to the renamed one), and where it comes from. NotFound."""
        answer = await self._get(repository_path(full_name))
        model = read(answers.RepositoryModel, answer.data)
        return model.repo(), model.lineage()

    async def condition(self, full_name: str) -> RepositoryCondition:
        """What keeps a repository from changing: archived by its owner, or disabled by GitHub. NotFound."""
        model = read(answers.RepositoryModel, (await self._get(repository_path(full_name))).data)
        return RepositoryCondition(archived=model.archived, disabled=model.disabled)

    async def offer(self, full_name: str) -> Offer:
        """How people can take the repository as their own. NotFound."""
        model = read(answers.RepositoryModel, (await self._get(repository_path(full_name))).data)
        return Offer(private=model.private, is_template=model.is_template)

    async def repository_by_id(self, repo_id: int) -> tuple[Repo, Lineage]:
        """The repository with this id, whatever it is called and whoever owns it now. NotFound.

        Where renamed repositories redirect to (REST docs, best practices, "Follow redirects").
        """
        model = read(answers.RepositoryModel, (await self._get(f"repositories/{repo_id:d}")).data)
        if model.id != repo_id:
            raise Transient(f"GitHub answered with repository {model.id} when asked for {repo_id}")
        return model.repo(), model.lineage()

    async def repositories(self) -> tuple[Listed, ...]:
        """All repositories of the installation; never a part of them.

        Transient when their number changes between two pages: what moves up a page then is on none that was read.
        """
        found: dict[int, Listed] = {}
        totals: set[int | None] = set()
        async for data in self.pages("installation/repositories?per_page=100"):
            page = read(answers.RepositoriesModel, data)
            found |= {item.id: Listed(item.id, item.full_name, item.fork) for item in page.repositories}
            totals.add(page.total_count)
        if len(totals) > 1:
            raise Transient("the installation's repositories changed while they were read")
        return tuple(found.values())

    # ------------------------------------------------------------------------------------------------------- accounts

    async def account(self, login: str) -> Account:
        """The account that has this login now. NotFound: nobody has (a renamed account leaves no redirect here)."""
        if not _OWNER.fullmatch(login):
            raise NotFound(f"{login[:100]!r} is no login")
        return read(answers.AccountModel, (await self._get(f"users/{login}")).data).value()

    async def account_by_id(self, account_id: int) -> Account:
        """The account with this id, with its login of now. NotFound."""
        return read(answers.AccountModel, (await self._get(f"user/{account_id:d}")).data).value()

    # -------------------------------------------------------------------------------------------------------- commits

    async def branch_head(self, full_name: str, branch: str) -> str | None:
        """The sha at which a branch stands; None: no such branch, an empty repository, or one that is not visible."""
        path = f"{repository_path(full_name)}/git/ref/heads/{quoted(branch)}"
        try:
            answer = await self._get(path)
        except NotFound:
            return None
        except Rejected as error:
            if error.status == 409:  # "Git Repository is empty."
                return None
            raise
        found = read(answers.RefModel, answer.data)
        return found.object.sha if found.ref == f"refs/heads/{branch}" else None

    async def compare(self, full_name: str, base: str, head: str) -> Comparison | None:
        """How `head` stands to `base` (three-dot semantics), with at most 250 commits. None: one of them is unknown."""
        path = f"{repository_path(full_name)}/compare/{quoted(base)}...{quoted(head)}"
        try:
            answer = await self._object(path)
        except NotFound as error:
            if "no common ancestor" in str(error).lower():  # 404 too (trilom/file-changes-action issue 138)
                return Comparison("diverged", (), complete=False)
            return None
        return read(answers.ComparisonModel, answer.data).value()

    async def commit(self, full_name: str, ref: str) -> Commit:
        """The commit at a sha or ref. NotFound: unknown there (or not there yet), or the repository is empty."""
        if _SHA.fullmatch(ref):  # without the list of changed files
            answer = await self._object(f"{repository_path(full_name)}/git/commits/{ref}")
            return read(answers.GitCommitModel, answer.data).value()
        path = f"{repository_path(full_name)}/commits/{quoted(ref)}?per_page=1"
        return read(answers.CommitModel, (await self._object(path)).data).value()

    async def tree(self, full_name: str, tree_ish: str, *, recursive: bool = True) -> TreeAnswer:
        """The listing of a tree, commit or ref as GitHub gives it, perhaps truncated. NotFound as for `commit`."""
        path = f"{repository_path(full_name)}/git/trees/{quoted(tree_ish)}"
        answer = await self._object(f"{path}?recursive=1" if recursive else path)  # any value of it means yes
        return answers.read_tree(answer.data)

    async def blob(self, full_name: str, sha: str) -> bytes:
        """The content of a blob of at most 1 MiB, checked against its sha. NotFound, TooLarge."""
        path = f"{repository_path(full_name)}/git/blobs/{quoted(sha)}"
        content = answers.read_blob((await self._object(path, max_body=_MAX_BLOB_ANSWER)).data, sha)
        if len(content) > MAX_BLOB:
            raise TooLarge(f"blob {sha} has {len(content)} bytes, more than {MAX_BLOB}")
        return content

    async def file(self, full_name: str, path: str, ref: str) -> bytes | None:
        """The content of a regular file at a commit or ref; None: no such file (a link or folder is none).

        Walks trees, one request per folder: the contents API would follow links.
        """
        *folders, name = path.split("/")
        tree_ish = ref
        for folder in folders:
            entry = await self._entry(full_name, tree_ish, folder)
            if entry is None or entry.kind != "tree":
                return None
            tree_ish = entry.sha
        entry = await self._entry(full_name, tree_ish, name)
        return await self.blob(full_name, entry.sha) if entry and entry.mode in _REGULAR else None

    async def _entry(self, full_name: str, tree_ish: str, name: str) -> RawEntry | None:
        """The one entry of a folder with this name."""
        listing = await self.tree(full_name, tree_ish, recursive=False)
        entries = [entry for entry in listing.entries if entry.path == name]
        if not entries and listing.truncated:
            raise TooLarge(f"{full_name}: GitHub does not list all of the folder that holds {name!r}")
        return entries[0] if len(entries) == 1 else None

    # -------------------------------------------------------------------------------------------------------- reports

    async def create_check_run(self, full_name: str, report: CheckRunReport) -> int:
        """Post a completed check run; its id. UnknownOutcome: look with `find_check_run` before posting again.

        Of its annotations it gets the first answers.MAX_ANNOTATIONS; the rest by `add_annotations`.
        """
        return await self._write("POST", f"{repository_path(full_name)}/check-runs", answers.check_run_body(report))

    async def add_annotations(self, full_name: str, run_id: int, report: CheckRunReport, sent: int) -> int:
        """Add the annotations after the first `sent`, as many as one request takes; how many the run has then.

        UnknownOutcome: ask `count_annotations` before adding again.
        """
        body = answers.more_annotations_body(report, sent)
        await self._write("PATCH", f"{repository_path(full_name)}/check-runs/{run_id:d}", body)
        return min(len(report.annotations), sent + answers.MAX_ANNOTATIONS)

    async def count_annotations(self, full_name: str, run_id: int) -> int:
        """How many annotations a check run has now. NotFound."""
        answer = await self._access.send(Request("GET", f"{repository_path(full_name)}/check-runs/{run_id:d}"))
        return read(answers.OneCheckRunModel, answer.data).output.annotations_count

    async def find_check_run(self, full_name: str, head_sha: str, name: str, external_id: str) -> int | None:
        """The id of our newest check run of this name and external id on a head; None if there is none."""
        query = urlencode({"check_name": name, "filter": "all", "app_id": self._app_id, "per_page": 100})
        found: list[int] = []
        try:
            async for data in self.pages(f"{repository_path(full_name)}/commits/{quoted(head_sha)}/check-runs?{query}"):
                runs = read(answers.CheckRunsModel, data).check_runs
                found += [run.id for run in runs if run.name == name and run.external_id == external_id]
        except Rejected as error:
            if error.status != 422:  # "No commit found for SHA": nothing can hang on it
                raise
        return max(found, default=None)

    async def create_status(self, full_name: str, report: StatusReport) -> int:
        """Post a commit status; its id. Doing it twice has the effect of once, but for the limit of 1000 a context:
        StatusesExhausted.
        """
        path = f"{repository_path(full_name)}/statuses/{quoted(report.head_sha)}"
        try:
            return await self._write("POST", path, answers.status_body(report))
        except Rejected as error:
            if error.status == 422 and _TOO_MANY_STATUSES in str(error).lower():
                raise StatusesExhausted(str(error)) from None
            raise

    # ------------------------------------------------------------------------------------------------------- requests

    async def _get(self, url: str) -> Answer:
        """What can change and is asked again: with a conditional request."""
        return await self._access.send(Request("GET", url, cacheable=True))

    async def _object(self, url: str, *, max_body: int = MAX_BODY) -> Answer:
        """Git objects, mostly by sha: not worth keeping for a conditional request. All ways to be absent: NotFound."""
        try:
            return await self._access.send(Request("GET", url, max_body=max_body))
        except Rejected as error:
            if error.status not in (409, 422):  # empty repository; "No commit found for SHA"
                raise
            raise NotFound(str(error)) from None

    async def _write(self, method: str, url: str, body: dict[str, Any]) -> int:
        answer = await self._access.send(Request(method, url, body=body, repeatable=False))
        try:
            return read(answers.CreatedModel, answer.data).id
        except Transient as error:  # it was written, and we do not know under which id
            raise UnknownOutcome(str(error)) from None

    async def pages(self, url: str) -> AsyncIterator[Any]:
        """The data of all pages, by Link headers: for the modules of this package that ask more than this class.

        `url`: relative to the API base. Addresses outside of the API are refused by the transport.
        """
        seen: set[str] = set()
        page: str | None = url
        while page is not None:
            if page in seen or len(seen) == _MAX_PAGES:
                raise Transient(f"GET {url}: its pages do not end")
            seen.add(page)
            answer = await self._get(page)
            yield answer.data
            page = answer.next_page


def repository_path(full_name: str) -> str:
    """`repos/OWNER/NAME`. A text that cannot be a repository's name is NotFound, as GitHub would answer."""
    owner, _, name = full_name.partition("/")
    if not _OWNER.fullmatch(owner) or not _NAME.fullmatch(name) or name in (".", ".."):
        raise NotFound(f"{full_name[:100]!r} is no name of a repository")
    return f"repos/{owner}/{name}"


def quoted(text: str) -> str:
    """A path parameter: everything is escaped, "/" too (REST docs, troubleshooting)."""
    return quote(text, safe="")
