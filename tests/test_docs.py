"""Documents that cannot drift: what they promise is compared with what is there."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import app
from bot.recovery import QUICK, SLOW
from cli.commands_document import commands_document
from cli.settings_document import settings_document
from github.manifest import read_template
from settings import Settings, settings_table
from tests.support.commands import commands_of
from web import auth
from web.cookies import ATTEMPT, SIGNED_IN

ROOT = Path(__file__).resolve().parent.parent
PERMISSIONS = {"metadata": "read", "contents": "read", "checks": "write", "statuses": "write"}
EVENTS = {"push", "repository", "fork", "status"}


def read(name: str) -> str:
    """Text of a file of the project."""
    return (ROOT / name).read_text(encoding="utf-8")


def test_the_settings_document_is_up_to_date() -> None:
    """docs/settings.md is what the settings' model says; `make schema` makes it anew."""
    assert read("docs/settings.md") == settings_document(), "run: make schema"


def test_every_setting_is_documented() -> None:
    """Each variable stands in the table, with its help text."""
    text = read("docs/settings.md")

    for row in settings_table():
        assert f"| `{row.name}`" in text
        assert row.help.replace("|", "\\|") in text


def test_the_readme_names_the_two_commands() -> None:
    """A newcomer finds `make demo` and `make test`, each as a command of its own."""
    blocks = re.findall(r"```\n(.*?)```", read("README.md"), re.DOTALL)

    assert "make demo\n" in blocks
    assert "make test\n" in blocks


def test_links_lead_somewhere() -> None:
    """Relative links and pictures of the documents point to files that exist."""
    documents = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")]
    links = [
        (document, link)
        for document in documents
        for link in re.findall(r"\]\(([^)#\s]+)", document.read_text(encoding="utf-8"))
        if "://" not in link
    ]

    assert links
    assert [(str(document), link) for document, link in links if not (document.parent / link).exists()] == []


def test_the_commands_document_is_up_to_date() -> None:
    """docs/commands.md is what the command line says of itself; `make schema` makes it anew."""
    assert read("docs/commands.md") == commands_document(app.cli), "run: make schema"


def spoken_commands() -> list[tuple[str, list[str]]]:
    """Every `python app.py ...` of README and documents, as (document, words)."""
    return [
        (document.name, shlex.split(line, comments=True))
        for document in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
        for line in re.findall(r"python app\.py ([a-z][^`\n]*)", document.read_text(encoding="utf-8"))
    ]


def test_every_command_that_is_written_down_exists() -> None:
    """Documents name only commands and options that the command line has."""
    unknown = []
    whole: Any = commands_of(app.cli)
    for document, words in spoken_commands():
        command = whole
        while words and hasattr(command, "commands") and words[0] in command.commands:
            command = command.commands[words.pop(0)]
        options = {option for parameter in command.params for option in parameter.opts} | {"--help"}
        named = [word.partition("=")[0] for word in words if word.startswith("-") and word != "-"]
        if (hasattr(command, "commands") and named != ["--help"]) or not options.issuperset(named):
            unknown.append((document, command.name, words))

    assert len(spoken_commands()) > 20, "the documents are not read"
    assert unknown == []


def test_every_make_target_that_is_written_down_exists() -> None:
    """Documents name only targets that the Makefile has, and `make help` names them too."""
    makefile = read("Makefile")
    targets = set(re.findall(r"^([a-z]+):", makefile, re.MULTILINE))
    documents = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")]
    texts = [document.read_text(encoding="utf-8") for document in documents]
    named = {name for text in texts for name in re.findall(r"(?:`|^)make ([a-z]+)", text, re.MULTILINE)}

    assert {"demo", "test", "serve", "live"} <= named <= targets
    assert all(f"@echo 'make {name} " in makefile for name in named - {"help"})


def test_every_document_can_be_found() -> None:
    """The README leads to each document."""
    linked = set(re.findall(r"\]\((docs/[^)#\s]+)", read("README.md")))

    assert {f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md")} - linked == set()


def manifest() -> tuple[dict[str, str], dict[str, str], list[str]]:
    """Of app.yml: its simple `key: value` pairs, the permissions, the events (a small part of YAML is enough)."""
    section, values, permissions, events = "", {}, {}, []
    for line in read("app.yml").splitlines():
        text = line.split("#")[0].rstrip()
        if pair := re.fullmatch(r"(\w+):\s*(.*)", text):
            section = pair[1]
            values[pair[1]] = pair[2]
        elif section == "default_permissions" and (pair := re.fullmatch(r"  (\w+): (\w+)", text)):
            permissions[pair[1]] = pair[2]
        elif section == "default_events" and (item := re.fullmatch(r"  - (\w+)", text)):
            events.append(item[1])
    return values, permissions, events


def test_the_manifest_asks_for_no_more_than_is_used() -> None:
    """app.yml has exactly the documented permissions and events, and is public, so that learners can install it."""
    values, permissions, events = manifest()

    assert permissions == PERMISSIONS
    assert set(events) == EVENTS
    assert values["public"] == "true"
    assert {"name", "url", "hook_attributes", "redirect_url", "callback_urls", "setup_url"} <= set(values)


def test_every_permission_and_event_has_its_reason() -> None:
    """Above each permission and event stands a comment that says what it is for."""
    lines = read("app.yml").splitlines()
    start = lines.index("default_permissions:")
    entries = [number for number, line in enumerate(lines) if number > start and re.match(r"  (- )?\w", line)]

    assert len(entries) == len(PERMISSIONS) + len(EVENTS)
    for number in entries:
        assert re.match(r"  # [A-Z].{20,}", lines[number - 1]), lines[number]


def test_permissions_and_events_are_documented() -> None:
    """docs/permissions.md has exactly those of app.yml, with their access, and says which are optional."""
    template = read_template(read("app.yml"))
    text = read("docs/permissions.md")
    rows = {
        (name, access, bool(optional))
        for name, optional, access in re.findall(r"^\| `(\w+)`( \(optional\))? \| (read|write) \| ", text, re.MULTILINE)
    }
    events = {
        (name, bool(optional))
        for name, optional in re.findall(r"^\| `(\w+)`( \(optional\))? \| (?!read|write)", text, re.MULTILINE)
    }

    assert rows == {(item.name, item.access, item.optional) for item in template.permissions}
    assert events == {(item.name, item.optional) for item in template.events}


def test_the_ruleset_of_the_document_pins_the_app() -> None:
    """docs/enforcement.md: the example is JSON, active, and requires our check from an App, not from any source."""
    (block,) = re.findall(r"```json\n(.*?)```", read("docs/enforcement.md"), re.DOTALL)
    ruleset = json.loads(block)
    (rule,) = [rule for rule in ruleset["rules"] if rule["type"] == "required_status_checks"]
    (check,) = rule["parameters"]["required_status_checks"]

    assert (ruleset["target"], ruleset["enforcement"]) == ("branch", "active")
    assert check["context"] == Settings.model_fields["check_name"].default
    assert isinstance(check["integration_id"], int)


def test_figures_of_the_documents_are_those_of_the_code() -> None:
    """How long bodies and cookies are kept, and how often the delivery log is read."""
    privacy, setup = read("docs/privacy.md"), read("docs/setup.md")

    assert f"**{Settings.model_fields['retention_days'].default} days** after they were processed" in privacy
    assert f"after {SIGNED_IN // 3600} hours, or when you sign out" in privacy
    assert f"after {ATTEMPT // 60} minutes, or when you are back" in privacy
    assert f"every {QUICK:.0f} to {SLOW:.0f} seconds" in setup
    assert f"{auth.CALLBACK}`" in setup


def test_every_library_has_its_reason() -> None:
    """docs/decisions/0002-libraries.md has a line for each direct requirement, and for nothing else."""
    required = set()
    for name in ("requirements.in", "requirements-dev.in"):
        for line in read(name).splitlines():
            if found := re.match(r"[A-Za-z][A-Za-z0-9_-]*", line):
                required.add(found[0].lower())
    rows = re.findall(r"^\| ([a-z0-9_, -]+) \| ", read("docs/decisions/0002-libraries.md"), re.MULTILINE)
    explained = {name.strip() for row in rows for name in row.split(",")} - {"library"}

    assert explained == required


def test_requirements_are_locked_with_hashes_and_without_an_index() -> None:
    """The locked files install only what was looked at, from whatever index the machine uses."""
    for name in ("requirements.txt", "requirements-dev.txt"):
        text = read(name)
        pins = re.findall(r"^[A-Za-z0-9][^\s=]*==\S+", text, re.MULTILINE)
        assert pins
        assert len(re.findall(r"^[A-Za-z0-9]\S*==.*\\\n    --hash=sha256:", text, re.MULTILINE)) == len(pins)
        assert "://" not in text
        assert "--index" not in text
        assert "--find-links" not in text


def test_the_picture_is_readable() -> None:
    """The picture of the README is well-formed and tells its content to those who do not see it."""
    root = ElementTree.parse(ROOT / "docs" / "images" / "blocked-check-run.svg").getroot()
    texts = " ".join("".join(node.itertext()) for node in root.iter("{http://www.w3.org/2000/svg}text"))

    assert root.find("{http://www.w3.org/2000/svg}title") is not None
    assert "src/cli.js" in texts
    assert "Fix the counter" in texts


def test_the_licence_is_the_whole_apache_licence() -> None:
    """LICENSE is the full text of the Apache License 2.0."""
    text = read("LICENSE")

    assert "Apache License\n                           Version 2.0, January 2004" in text
    assert "END OF TERMS AND CONDITIONS" in text
    assert len(text) > 11_000


def test_the_lab_template_is_a_valid_lab() -> None:
    """examples/lab-template has no problem, five steps, one optional, and one that needs two others."""
    from rules.labfile import parse_lab

    lab = parse_lab((ROOT / "examples" / "lab-template" / ".forgea" / "steps.json").read_bytes()).lab

    assert lab is not None
    assert len(lab.steps) == 5
    assert [step.id for step in lab.steps if step.optional] == ["frequent"]
    assert [step.id for step in lab.steps if len(step.needs) == 2] == ["release"]
