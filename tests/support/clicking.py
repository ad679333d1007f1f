"""A person at a browser without JavaScript, for tests: follows links and sends forms of the pages that it is given."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from html.parser import HTMLParser

import aiohttp
from yarl import URL


@dataclass
class Form:
    """A form: its fields as they stand in the page, and its buttons by label with what each adds."""

    method: str
    action: str | None
    fields: list[tuple[str, str]] = field(default_factory=list)
    buttons: dict[str, tuple[str, str] | None] = field(default_factory=dict)


class _Reader(HTMLParser):
    """Collects text, links and forms; `tags` counts what elements there are."""

    def __init__(self) -> None:
        super().__init__()
        self.forms: list[Form] = []
        self.links: dict[str, str] = {}
        self.words: list[str] = []
        self.tags: list[str] = []
        self._link: str | None = None
        self._button: dict[str, str | None] | None = None
        self._said: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Begin a form, a link or a button; take an input."""
        given = dict(attrs)
        self.tags.append(tag)
        if tag == "form":
            self.forms.append(Form((given.get("method") or "get").upper(), given.get("action")))
        elif tag == "input" and self.forms and given.get("name"):
            ticked = given.get("type") not in {"radio", "checkbox"} or "checked" in given
            if ticked:
                self.forms[-1].fields.append((str(given["name"]), given.get("value") or ""))
        elif tag == "a":
            self._link, self._said = given.get("href"), []
        elif tag == "button":
            self._button, self._said = given, []

    def handle_endtag(self, tag: str) -> None:
        """End a link or a button: its label is known now."""
        said = " ".join("".join(self._said).split())
        if tag == "a" and self._link is not None:
            self.links[said] = self._link
            self._link = None
        elif tag == "button" and self._button is not None:
            name = self._button.get("name")
            self.forms[-1].buttons[said] = (name, self._button.get("value") or "") if name else None
            self._button = None

    def handle_data(self, data: str) -> None:
        """Take text."""
        self.words.append(data)
        self._said.append(data)


class Clicker:
    """One browser: `address` and `status` of the page shown, its `text`, `html`, `links` and `forms`.

    Redirects to `stops` (beginnings of addresses) are not followed: `address` is then where the browser was sent.
    """

    def __init__(self, session: aiohttp.ClientSession, stops: tuple[str, ...] = ()) -> None:
        self.session = session
        self.stops = stops
        self.address = URL()
        self.status = 0
        self.html = ""
        self.headers: dict[str, str] = {}
        self._page = _Reader()

    @property
    def text(self) -> str:
        """What a person reads, with single spaces."""
        return " ".join("".join(self._page.words).split())

    @property
    def links(self) -> dict[str, str]:
        """Addresses by the words of the link."""
        return self._page.links

    @property
    def forms(self) -> list[Form]:
        """The page's forms in order."""
        return self._page.forms

    @property
    def tags(self) -> list[str]:
        """The names of the page's elements in order."""
        return self._page.tags

    async def open(self, address: str) -> None:
        """Go to an address; one without a host is below the present page."""
        await self._go("GET", self.address.join(URL(address)) if self.address.host else URL(address), None)

    async def follow(self, words: str) -> None:
        """Click the link that says this."""
        await self.open(self.links[words])

    async def press(self, label: str, changes: dict[str, str | list[str]] | None = None) -> None:
        """Press the first button that says this, after changing fields of its form."""
        form = next(each for each in self.forms if label in each.buttons)
        changed = changes or {}
        fields = [(key, value) for key, value in form.fields if key not in changed]
        for key, value in changed.items():
            fields += [(key, each) for each in (value if isinstance(value, list) else [value])]
        button = form.buttons[label]
        fields += [button] if button is not None else []
        target = self.address.join(URL(form.action)) if form.action else self.address
        await self._go(form.method, target, fields)

    async def post(self, address: str, fields: dict[str, str], headers: dict[str, str] | None = None) -> None:
        """Send a form that stands on another site's page."""
        await self._go("POST", URL(address), list(fields.items()), headers)

    async def _go(
        self, method: str, target: URL, fields: list[tuple[str, str]] | None, headers: dict[str, str] | None = None
    ) -> None:
        for _ in range(20):
            if self.address.host and method == "POST":
                headers = {"Origin": str(self.address.origin())} | (headers or {})
            async with self.session.request(
                method, target, data=fields, headers=headers, allow_redirects=False
            ) as answer:
                self.status, self.html = answer.status, await answer.text()
                self.headers = {str(key): value for key, value in answer.headers.items()}
            self.address = target
            if not 300 <= self.status < 400:
                break
            target, method, fields, headers = target.join(URL(self.headers["Location"])), "GET", None, None
            if str(target).startswith(self.stops or ("\0",)):
                self.address = target
                return
        self._page = _Reader()
        self._page.feed(self.html)


@asynccontextmanager
async def clicking(*stops: str) -> AsyncIterator[Clicker]:
    """Yield a browser with an empty cookie jar, which does not follow redirects to `stops`."""
    jar = aiohttp.CookieJar(unsafe=True)  # loopback is an address, not a name
    async with aiohttp.ClientSession(cookie_jar=jar) as session:
        yield Clicker(session, stops)
