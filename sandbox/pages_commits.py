"""Pages of commits, comparisons and check runs: what a learner sees of a verdict, and its buttons."""

from __future__ import annotations

from aiohttp import web

from .checks import CheckBook
from .core import Core
from .gitstore import run_git
from .pages import Browsers, PageError, page_not_found, repo_href
from .pages_repos import RepositorySight
from .state import CheckRun, Repository

DIFF_SHOWN = 512 * 1024  # bytes
_PLAIN = ("--no-color", "--no-ext-diff", "--no-textconv", "-M", "-p")


class CommitPages:
    """Handlers of `/{owner}/{repo}/commit`, `/compare` and `/runs`."""

    def __init__(self, core: Core, browsers: Browsers, sight: RepositorySight, checks: CheckBook) -> None:
        self._core = core
        self._browsers = browsers
        self._sight = sight
        self._checks = checks

    def register(self, router: web.UrlDispatcher) -> None:
        """Mount the pages."""
        add, one = self._browsers.route, "/{owner}/{repo}"
        add(router, "GET", f"{one}/commit/{{sha}}", self.commit)
        add(router, "GET", f"{one}/compare/{{basehead:.+}}", self.compare)
        add(router, "GET", f"{one}/runs/{{check_run_id:\\d+}}", self.run)
        add(router, "POST", f"{one}/runs/{{check_run_id:\\d+}}", self.press)

    async def _resolved(self, record: Repository, name: str) -> str:
        sha = await self._core.store.resolve(record.path, name)
        if sha is None:
            raise page_not_found()
        return sha

    async def _diff(self, record: Repository, *arguments: str) -> str:
        _, output = await run_git(["diff-tree", *_PLAIN, "--root", "--no-commit-id", *arguments], cwd=record.path)
        return output[:DIFF_SHOWN].decode(errors="replace")

    async def commit(self, request: web.Request) -> web.StreamResponse:
        """Show a commit, what was reported about it, and its difference from its first parent."""
        record = self._sight.repository(request)
        sha = await self._resolved(record, request.match_info["sha"])
        commit = await self._core.git.commit(record.path, sha)
        if commit is None:
            raise page_not_found()
        diff = await self._diff(record, *commit.parents[:1], sha)
        state = self._core.state
        return self._browsers.page(
            request,
            "commit.html",
            record=record,
            commit=commit,
            diff=diff,
            runs=state.runs_of(record, sha),
            statuses=state.statuses_of(record, sha),
        )

    async def compare(self, request: web.Request) -> web.StreamResponse:
        """Show head against the merge base (`A...B`) or against base itself (`A..B`)."""
        record, text = self._sight.repository(request), request.match_info["basehead"]
        dots = "..." if "..." in text else ".."
        base_name, found, head_name = text.partition(dots)
        if not found:
            raise page_not_found()
        base = await self._resolved(record, base_name.rpartition(":")[2])
        head = await self._resolved(record, head_name.rpartition(":")[2])
        start = await self._core.git.merge_base(record.path, base, head) if dots == "..." else base
        if start is None:
            raise PageError(404, "There isn't anything to compare", "The two have entirely different histories.")
        diff = await self._diff(record, start, head)
        return self._browsers.page(request, "compare.html", record=record, basehead=text, diff=diff)

    # ------------------------------------------------------------------------------------------------ check runs

    def _run(self, request: web.Request) -> tuple[Repository, CheckRun]:
        record = self._sight.repository(request)
        run = self._core.state.check_runs.get(int(request.match_info["check_run_id"]))
        if run is None or run.repository_id != record.id:
            raise page_not_found()
        return record, run

    async def run(self, request: web.Request) -> web.StreamResponse:
        """Show a check run as it was reported; whoever may push has its buttons."""
        record, run = self._run(request)
        me = self._browsers.account(request)
        writes = me is not None and record.writable_by(me)
        return self._browsers.page(request, "run.html", record=record, run=run, writes=writes)

    async def press(self, request: web.Request) -> web.StreamResponse:
        """Send what the click sends: `requested_action` of the button, or `rerequested` of "Re-run"."""
        record, run = self._run(request)
        account, fields = await self._browsers.form(request)
        if not record.writable_by(account):
            raise PageError(403, "You may not press this", "Only who may push to the repository has its buttons.")
        button = fields.get("button") or None
        if button is not None and button not in {action["identifier"] for action in run.actions}:
            raise PageError(422, "There is no such button", "The check run was changed meanwhile: load its page again.")
        await self._checks.press(record, run, account, button)
        return web.Response(status=303, headers={"Location": repo_href(record, "runs", run.id)})
