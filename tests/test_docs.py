"""Documents that cannot drift: what they promise is compared with what is there."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

from cli.settings_document import settings_document
from settings import settings_table

ROOT = Path(__file__).resolve().parent.parent
PERMISSIONS = {"metadata": "read", "contents": "read", "checks": "write", "statuses": "write"}
EVENTS = {"push", "repository", "status"}


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


def test_the_readme_lists_every_command() -> None:
    """The table of commands is the command line's own list."""
    shown = set()
    for row in re.findall(r"^\| (`[^|]+`) \| ", read("README.md"), re.MULTILINE):
        shown.update(re.findall(r"`([a-z]+(?: [a-z]+)?)`", row))
    code = (
        "import json, typer, app\n"
        "def names(group, prefix=''):\n"
        "    for name, command in group.commands.items():\n"
        "        yield from names(command, f'{name} ') if hasattr(command, 'commands') else [prefix + name]\n"
        "print(json.dumps(sorted(names(typer.main.get_command(app.cli)))))\n"
    )
    out = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True)

    assert shown == set(json.loads(out.stdout))


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
