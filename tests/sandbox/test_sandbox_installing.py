"""Installing the App by clicking, and the installation's settings."""

from __future__ import annotations

from sandbox import Sandbox
from tests.support.clicking import clicking

SETUP = "https://stepgate.example.com/setup/installed"


def installation_events(sandbox: Sandbox) -> list[tuple[str, str | None]]:
    """What the App was told of installations, oldest first."""
    events = ((each.event, each.action) for each in sandbox.deliveries)
    return [each for each in events if each[0].startswith("installation")]


async def test_a_learner_installs_on_the_fork_only(sandbox: Sandbox) -> None:
    """From the public page to the setup URL; the App hears of the one repository."""
    sandbox.setup_url = SETUP
    await sandbox.add_repository("learner-one", "own")
    fork = await sandbox.add_repository("learner-one", "lab")
    async with clicking(SETUP) as browser:
        await browser.open(f"{sandbox.url}/apps/stepgate")
        await browser.follow("Install")
        await browser.press("Sign in as learner-one")
        assert "checks: read and write" in browser.text
        await browser.press("Install", {"selection": "selected", "repository_ids[]": [str(fork.id)]})
        query = browser.address.query
    (installation,) = sandbox.installations
    assert query["installation_id"] == str(installation.id)
    assert (query["setup_action"], "state" in query) == ("install", False)
    assert (installation.selection, installation.repository_ids) == ("selected", {fork.id})
    await sandbox.idle()
    assert installation_events(sandbox) == [("installation", "created")]


async def test_suggested_repositories_and_state_come_through(sandbox: Sandbox) -> None:
    """A link may tick repositories beforehand; `state` comes back at the setup URL."""
    sandbox.setup_url = SETUP
    fork = await sandbox.add_repository("learner-one", "lab")
    account = sandbox.add_account("octo-staff")
    sandbox.add_member("octo-course", "octo-staff")
    async with clicking(SETUP) as browser:
        await browser.open(f"{sandbox.url}/apps/stepgate/installations/new?state=a+b&repository_ids[]={fork.id}")
        await browser.press("Sign in as learner-one")
        await browser.press("Install")
        assert browser.address.query["state"] == "a b"
    (installation,) = sandbox.installations
    assert (installation.account.login, installation.repository_ids) == ("learner-one", {fork.id})
    async with clicking(SETUP) as browser:
        await browser.open(f"{sandbox.url}/apps/stepgate/installations/new")
        await browser.press("Sign in as octo-staff")
        assert {"octo-staff", "octo-course"} <= set(browser.links)
        await browser.follow("octo-course")
        await browser.press("Install", {"selection": "all"})
        assert browser.address.query["setup_action"] == "install"
    created = sandbox.deliveries[-1]
    assert f'"sender":{{"login":"octo-staff","id":{account.id}'.encode() in created.payload


async def test_nothing_selected_installs_nothing(sandbox: Sandbox) -> None:
    """The page says what to do."""
    await sandbox.add_repository("learner-one", "lab")
    async with clicking() as browser:
        await browser.open(f"{sandbox.url}/apps/stepgate/installations/new")
        await browser.press("Sign in as learner-one")
        await browser.press("Install", {"selection": "selected"})
        assert (browser.status, "Select at least one" in browser.text) == (422, True)


async def test_nobody_installs_on_anothers_account(sandbox: Sandbox) -> None:
    """Neither by address nor by form, nor on repositories of others; a private App only for its owner."""
    other = sandbox.account("learner-two")
    lab = sandbox.repository("octo-course/lab")
    ask = f"{sandbox.url}/apps/stepgate/installations/new"
    async with clicking() as browser:
        await browser.open(f"{ask}/permissions?target_id={other.id}")
        await browser.press("Sign in as learner-one")
        assert browser.status == 404
        for changes in ({"target_id": str(other.id)}, {"selection": "selected", "repository_ids[]": str(lab.id)}):
            await browser.open(ask)
            await browser.press("Install", dict(changes))
            assert browser.status in {404, 422}
        sandbox.public = False
        await browser.open(ask)
        assert browser.status == 404
    assert not sandbox.installations


async def test_the_settings_add_remove_suspend_and_uninstall(sandbox: Sandbox) -> None:
    """Each button sends what GitHub sends; installing again leads to the settings."""
    await sandbox.add_repository("learner-one", "own")
    await sandbox.add_repository("learner-one", "lab")
    installation = await sandbox.install("learner-one", ["learner-one/lab"])
    async with clicking() as browser:
        await browser.open(f"{sandbox.url}/apps/stepgate/installations/new")
        await browser.press("Sign in as learner-one")
        assert browser.address.path == f"/settings/installations/{installation.id}"
        for button in ("Add", "Remove", "Suspend", "Unsuspend", "Uninstall"):
            await browser.press(button)
            assert browser.status == 200
    await sandbox.idle()
    assert installation_events(sandbox) == [
        ("installation", "created"), ("installation_repositories", "added"), ("installation_repositories", "removed"),
        ("installation", "suspend"), ("installation", "unsuspend"), ("installation", "deleted"),
    ]  # fmt: skip


async def test_an_installations_settings_are_its_accounts(sandbox: Sandbox) -> None:
    """For anybody else there is no such page and no such button."""
    installation = await sandbox.install("learner-one", "all")
    async with clicking() as browser:
        await browser.open(f"{sandbox.url}/settings/installations/{installation.id}")
        await browser.press("Sign in as learner-two")
        assert browser.status == 404
        await browser.post(f"{sandbox.url}/settings/installations/{installation.id}", {"action": "uninstall"})
        assert browser.status == 404
    assert sandbox.installations


async def test_an_app_that_wants_it_signs_the_installer_in(sandbox: Sandbox) -> None:
    """With request_oauth_on_install the browser goes on to the authorisation."""
    sandbox.callback_urls = ["https://stepgate.example.com/auth/callback"]
    sandbox.request_oauth_on_install = True
    await sandbox.add_repository("learner-one", "lab")
    async with clicking("https://stepgate.example.com") as browser:
        await browser.open(f"{sandbox.url}/apps/stepgate/installations/new")
        await browser.press("Sign in as learner-one")
        await browser.press("Install")
        assert "Authorize stepgate" in browser.text
