"""web/setup_form.py: what an operator types about addresses, and what it means beside the settings."""

from __future__ import annotations

import pytest

from web.setup_form import Choice, Known, proposed, read_form

GITHUB = Known("https://github.com", "https://api.github.com")
GHES = Known("https://github.example.com", "https://github.example.com/api/v3", fixed=True)
HERE = "http://127.0.0.1:8000"


def choice(known: Known = GITHUB, **typed: str) -> Choice:
    """What a form without mistakes means."""
    found = read_form({"name": "Stepgate-test", "github": known.web_url} | typed, known, here=HERE)
    assert isinstance(found, Choice), found
    return found


def wrong(known: Known = GITHUB, **typed: str) -> dict[str, str]:
    """The mistakes of a form."""
    found = read_form({"name": "Stepgate-test", "github": known.web_url} | typed, known, here=HERE)
    assert not isinstance(found, Choice), found
    return found


@pytest.mark.parametrize(
    ("typed", "web_url", "api_url"),
    [
        ("", "https://github.com", "https://api.github.com"),
        ("https://github.com/", "https://github.com", "https://api.github.com"),
        ("GITHUB.EXAMPLE.COM", "https://github.example.com", "https://github.example.com/api/v3"),
        ("github.example.com:8443", "https://github.example.com:8443", "https://github.example.com:8443/api/v3"),
        ("https://github.example.com:443", "https://github.example.com", "https://github.example.com/api/v3"),
        ("https://github.example.com:", "https://github.example.com", "https://github.example.com/api/v3"),
        ("octo-course.ghe.com", "https://octo-course.ghe.com", "https://api.octo-course.ghe.com"),
        ("http://127.0.0.1:9000", "http://127.0.0.1:9000", "http://127.0.0.1:9000/api/v3"),
        ("http://[::1]:9000", "http://[::1]:9000", "http://[::1]:9000/api/v3"),
    ],
)
def test_github_is_known_by_its_host(typed: str, web_url: str, api_url: str) -> None:
    """A host is enough; its API is found by the kind of GitHub that it is."""
    wanted = choice(github=typed).wanted

    assert (wanted.web_url, wanted.api_url) == (web_url, api_url)


@pytest.mark.parametrize(
    "typed",
    [
        "https://github.example.com:0",
        "https://github.example.com:99999",
        "https://github.example.com:x",
        "https://",
        "javascript:alert(1)",
        "//github.example.com",
        "https://github.example.com?x",
        "https://github.example.com#x",
        "https://a@github.example.com",
        "https://github.example.com 'unsafe-inline'",
        "https://gïthub.example.com",
        "http://github.com",
    ],
)
def test_what_is_no_host_is_refused(typed: str) -> None:
    """Nothing that is not the plain address of a host gets into an address or a policy."""
    assert set(wrong(github=typed)) == {"github"}


def test_a_github_of_the_settings_is_not_the_forms_to_change() -> None:
    """Where the settings name a GitHub the form may only repeat it; the remedy names the variables."""
    assert choice(GHES).wanted.api_url == "https://github.example.com/api/v3"
    assert "GITHUB_API_URL" in wrong(GHES, github="https://github.com")["github"]


@pytest.mark.parametrize(
    ("github", "public_url", "reachable"),
    [
        ("https://github.com", "https://gate.example.org", True),
        ("https://github.com", "https://8.8.8.8", True),
        ("https://github.com", "http://127.0.0.1:8000", False),
        ("https://github.com", "http://localhost:8000", False),
        ("https://github.com", "https://192.168.1.5", False),
        ("https://github.com", "https://[::1]", False),
        ("https://github.com", "https://laptop", False),
        ("https://github.com", "https://laptop.local", False),
        ("https://octo-course.ghe.com", "https://10.0.0.5", False),
        ("https://github.example.com", "https://10.0.0.5", True),
        ("https://github.example.com", "https://laptop.local", True),
        ("https://github.example.com", "http://127.0.0.1:8000", False),
        ("http://127.0.0.1:9000", "http://127.0.0.1:8000", True),
    ],
)
def test_an_address_that_github_cannot_reach_is_refused(github: str, public_url: str, reachable: bool) -> None:
    """The hosted GitHub reaches public addresses only, an Enterprise Server its own network, a sandbox its machine."""
    if reachable:
        assert choice(github=github, public_url=public_url).wanted.public_url == public_url
    else:
        assert "cannot reach" in wrong(github=github, public_url=public_url)["public_url"]


def test_a_public_address_of_the_settings_counts() -> None:
    """PUBLIC_URL may only be repeated; one that GitHub cannot reach means that there is none."""
    known = Known("https://github.com", "https://api.github.com", public_url="https://gate.example.org")
    local = Known("https://github.com", "https://api.github.com", public_url="http://127.0.0.1:8000")

    assert choice(known, public_url="https://gate.example.org/").wanted.public_url == "https://gate.example.org"
    assert "PUBLIC_URL" in wrong(known, public_url="https://other.example.org")["public_url"]
    assert choice(local, public_url="http://127.0.0.1:8000").wanted.public_url is None


@pytest.mark.parametrize(
    ("host", "public_url"),
    [
        ("gate.example.org", "https://gate.example.org"),
        ("gate.example.org:8443", "https://gate.example.org:8443"),
        ("127.0.0.1:8000", ""),
        ("localhost:8000", ""),
        ("[::1]:8000", ""),
        ("10.0.0.5", ""),
        ("", ""),
    ],
)
def test_the_public_address_is_proposed_where_there_is_one(host: str, public_url: str) -> None:
    """A browser that came by a public name shows which it is; what is proposed can be sent as it is."""
    fields = proposed(GITHUB, host)

    assert fields["public_url"] == public_url
    assert choice(GITHUB, **fields).to_file


def test_names_are_proposed_that_nobody_has() -> None:
    """App names are unique on GitHub, so four letters are drawn each time."""
    assert len({proposed(GITHUB, "localhost")["name"] for _ in range(20)}) > 15


def test_only_an_organisations_form_needs_its_name() -> None:
    """What stands in the field of the organisation does not matter for a personal App."""
    assert choice(owner="personal", organization="not/a name").wanted.organization is None
    assert choice(owner="organization", organization=" octo-course ").wanted.organization == "octo-course"
    assert set(wrong(owner="organization")) == {"organization"}
