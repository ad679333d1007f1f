"""/installed: where GitHub leads after an installation. Nothing in its address is believed."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlencode

import pytest
import pytest_asyncio
import yaml

from tests.support.browsing import browser
from tests.support.learners import Learner, enrol, open_course, open_lab, template_files
from tests.support.line import Line, running_line

pytestmark = pytest.mark.asyncio(loop_scope="module")

LAB = "word-counter"
ROOT = Path(__file__).parents[2]


@pytest_asyncio.fixture(scope="module", loop_scope="module", name="line")
async def _line(module_database: str) -> AsyncIterator[Line]:
    """A running App with the example lab, where one signs in."""
    async with running_line(module_database, sign_in=True) as line:
        await open_course(line)
        await open_lab(line, LAB, template_files())
        line.sandbox.add_account("bystander")
        yield line


@pytest_asyncio.fixture(loop_scope="module", name="learner")
async def _learner(line: Line, tmp_path: Path) -> Learner:
    """A learner whose fork is connected."""
    return await enrol(line, LAB, tmp_path)


def installation_of(line: Line, login: str) -> int:
    """The id of the App's installation on an account."""
    (found,) = [each.id for each in line.sandbox.installations if each.account.login == login]
    return found


async def seen(line: Line, login: str | None, *, granted: frozenset[int] = frozenset(), **query: str | int) -> str:
    """The page as an account (None: nobody) sees it; `granted`: installations that GitHub let the account see."""
    account = line.sandbox.account(login).id if login else None
    async with browser(line.pages, line.web, account, login or "", installations=granted) as visitor:
        answer = await visitor.get("/installed?" + urlencode(query))
        assert answer.status == 200
        return await answer.text()


async def test_the_manifest_leads_here() -> None:
    """GitHub sends people to this page after an installation, and when they change its repositories."""
    manifest = yaml.safe_load((ROOT / "app.yml").read_text())
    assert manifest["setup_url"].endswith("/installed")
    assert manifest["setup_on_update"] is True


async def test_a_stranger_is_told_that_nothing_can_be_checked(line: Line, learner: Learner) -> None:
    """Whoever is not signed in sees neither repository nor session, and where to look all the same."""
    number = installation_of(line, learner.fork.partition("/")[0])
    page = await seen(line, None, installation_id=number, setup_action="install", state=LAB)
    assert "GitHub says that the App was installed" in page
    assert "cannot check it" in page
    assert learner.fork not in page
    assert str(learner.session_id) not in page
    assert f'href="/join/{LAB}"' in page
    assert "forgea/steps" in page


async def test_the_learner_is_led_to_the_session(line: Line, learner: Learner) -> None:
    """Who installed the App sees the connected repository and the way on."""
    login = learner.fork.partition("/")[0]
    page = await seen(line, login, installation_id=installation_of(line, login), setup_action="install", state=LAB)
    assert f'href="/sessions/{learner.session_id}"' in page
    assert learner.fork in page


async def test_another_persons_installation_tells_nothing(line: Line, learner: Learner) -> None:
    """An id from somebody else's address bar shows what a stranger sees."""
    number = installation_of(line, learner.fork.partition("/")[0])
    page = await seen(line, "bystander", installation_id=number, setup_action="install")
    assert learner.fork not in page
    assert "No such installation of yours is known here yet" in page


async def test_an_installation_on_another_repository_says_what_it_sees(line: Line) -> None:
    """Installed on what is no lab: named, and led back to the lab's page."""
    line.sandbox.add_account("hasty")
    other = await line.sandbox.add_repository("hasty", "something-else")
    installation = await line.sandbox.install("hasty", [other.full_name])
    await line.settle()
    page = await seen(line, "hasty", installation_id=installation.id, setup_action="install", state=LAB)
    assert "hasty/something-else" in page
    assert "None of them is connected" in page
    assert f'href="/join/{LAB}"' in page


async def test_a_member_of_an_organisation_sees_that_it_is_installed(line: Line) -> None:
    """GitHub's list, taken at sign-in, tells that it is theirs; which repositories it covers is not theirs to know."""
    line.sandbox.add_account("octo-firm", "Organization")
    other = await line.sandbox.add_repository("octo-firm", "internal")
    installation = await line.sandbox.install("octo-firm", [other.full_name])
    await line.settle()
    page = await seen(line, "bystander", granted=frozenset({installation.id}), installation_id=installation.id)
    assert "<h1>The App is installed</h1>" in page
    assert "octo-firm/internal" not in page


async def test_a_request_to_an_organisation_waits_for_its_owner(line: Line) -> None:
    """Nothing is installed yet, and nothing is to be done here."""
    page = await seen(line, None, setup_action="request", state=LAB)
    assert "Your request is on its way" in page
    assert "owner of the organisation has to agree" in page


async def test_a_changed_choice_of_repositories_says_so(line: Line, learner: Learner) -> None:
    """After an update nobody is told that the App was installed."""
    login = learner.fork.partition("/")[0]
    page = await seen(line, login, installation_id=installation_of(line, login), setup_action="update")
    assert "Your choice of repositories was changed" in page
    assert "repositories were changed" in await seen(line, None, setup_action="update")


@pytest.mark.parametrize(
    "query",
    [
        {"installation_id": "1" * 30},
        {"installation_id": "-1"},
        {"installation_id": "٣"},
        {"installation_id": "1; DROP TABLE installation"},
        {"setup_action": "<script>alert(1)</script>"},
        {"state": "https://github.example.com/"},
        {"state": "//github.example.com"},
        {"state": '"><script>alert(1)</script>'},
        {"state": "no-such-lab"},
        {"installation_id": "\0"},
    ],
)
async def test_a_made_up_address_changes_nothing(line: Line, query: dict[str, str]) -> None:
    """Odd values are ignored: no error, no link to elsewhere, nothing of them on the page as markup."""
    page = await seen(line, "bystander", granted=frozenset(), **query)
    assert "GitHub says that the App was installed" in page
    assert "<script>alert" not in page
    assert 'href="//' not in page
    assert 'href="https://github.example.com' not in page
    assert 'href="/join/' not in page


async def test_signing_in_leads_back_here(line: Line) -> None:
    """The way over the sign-in keeps the address, percent-encoded as one value."""
    page = await seen(line, None, installation_id=5, setup_action="install")
    assert "/login?next=/installed%3Finstallation_id%3D5%26setup_action%3Dinstall" in page
