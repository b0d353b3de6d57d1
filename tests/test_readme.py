"""The documentation holds: README.md's commands run as they stand, and what the documents name is there."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import click
import pytest

import cli
from common import PROJECT_ROOT as ROOT
from common import discovery
from common.commands.launch import find_free_addresses
from common.config import get_config_fields
from common.runtime.user_cache import cache_dir
from tests.helpers.cli_calls import tiny_texts, write

DOCUMENTS = sorted(
    [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("recipes/*/README.md")],
    key=lambda path: path.relative_to(ROOT),
)
NEEDED = ("cli.py", "common", "recipes", "Makefile", "requirements.txt", "requirements.in")

# The only change to a command of README.md: `run` lines get these flags appended, so that they take seconds.
SMALLER = " --limit 300 --epochs 1"
# Lines that set up what a test already has; `make X` and `pip install -r FILE` are checked but not carried out.
SET_UP = re.compile(r"make (?P<target>\S+)(?: GPU=1)?$|pip install -r (?P<file>\S+)$")


def blocks(text):
    """(language, source) of each block of a document that has a language.

    >>> blocks("a\\n```sh\\nls\\n```\\n")
    [('sh', 'ls\\n')]
    """
    return re.findall(r"^```(\w+)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def made_small(source):
    """The block with the flags for a short run appended to each `run` line that trains.

    >>> made_small("python cli.py run x\\npython cli.py run x --print-config\\n").splitlines()
    ['python cli.py run x --limit 300 --epochs 1', 'python cli.py run x --print-config']
    """
    training = r"^python cli\.py (?:launch .*)?run (?!.*--print-config).*$"
    return re.sub(training, rf"\g<0>{SMALLER}", source, flags=re.MULTILINE)


@pytest.fixture
def place(tmp_path):
    """A folder like a checkout, with the files of the reader's own that README.md speaks of; and its environment."""
    folder, home, tools = tmp_path / "kerasserole", tmp_path / "home", tmp_path / "tools"
    for name in NEEDED:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            folder.mkdir(exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    (folder / ".venv").symlink_to(sys.prefix)
    home.mkdir()
    tools.mkdir()
    (tools / "python").write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    (tools / "python").chmod(0o755)
    write(folder / "my_reviews.csv", tiny_texts(300))
    # A home of its own, since README.md puts a command into ~/.local/bin; the default data is where it always is.
    path = os.pathsep.join([str(tools), str(home / ".local/bin"), os.environ["PATH"]])
    return folder, {**os.environ, "HOME": str(home), "XDG_CACHE_HOME": str(cache_dir().parent), "PATH": path}


@pytest.mark.slow
def test_readme_commands_run_in_order(place):
    folder, environment = place
    ran = 0
    for language, source in blocks((ROOT / "README.md").read_text(encoding="utf-8")):
        if language == "python":
            command = [sys.executable, "-c", source]
        elif language in ("sh", "console"):
            lines = [line.removeprefix("$ ") for line in source.splitlines()]
            kept = []
            for line in lines:
                if set_up := SET_UP.match(line):
                    check_set_up(folder, **set_up.groupdict())
                else:
                    kept.append(line)
            command = ["bash", "-euo", "pipefail", "-c", made_small("\n".join(kept))]
        else:
            continue
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, f"{source}\nends with status {done.returncode}:\n{done.stdout}{done.stderr}"
        ran += 1
    assert ran >= 10
    assert (folder / "runs/first/metrics.json").exists()
    assert (folder / "exports/sentiment/1/saved_model.pb").exists()
    assert (folder / "runs/mine/recipe_code/model.py").exists()


@pytest.mark.slow
def test_commands_of_the_page_on_several_machines_run(place):
    folder, environment = place
    page = (ROOT / "docs" / "distributed.md").read_text(encoding="utf-8")
    lines = [line for language, source in blocks(page) if language == "sh" for line in source.splitlines()]
    assert len(lines) == 6
    for number, line in enumerate(lines):
        if set_up := SET_UP.match(line):
            check_set_up(folder, **set_up.groupdict())
            continue
        line = re.sub(r"--run-dir \S+", f"--run-dir runs/{number}", made_small(line))
        line = re.sub(r"--hosts \S+", f"--hosts {','.join(find_free_addresses(2))}", line)
        started = [
            subprocess.Popen(
                shlex.split(one), cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
            )
            for one in dict.fromkeys([line, line.replace("--worker-index 0", "--worker-index 1")])
        ]
        for process in started:
            printed, told = process.communicate(timeout=300)
            assert process.returncode == 0, f"{line}\nends with status {process.returncode}:\n{printed}{told}"
        assert "--run-dir" not in line or (folder / f"runs/{number}/metrics.json").exists()


def check_set_up(folder, target, file):
    """Whether a target of the Makefile, or a file of requirements, is there."""
    if target:
        done = subprocess.run(["make", "-n", target], cwd=folder, capture_output=True, text=True)
        assert done.returncode == 0, f"make {target}: {done.stderr}"
    else:
        assert (folder / file).is_file(), file


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_to_files(document):
    text = re.sub(r"^```.*?^```$", "", document.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    links = [link.partition("#")[0] for link in re.findall(r"\]\(([^)\s]+)\)", text)]
    relative = [link for link in links if link and not re.match(r"[a-z]+:", link)]
    assert [link for link in relative if not (document.parent / link).exists()] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_files_named_in_documents_exist(document):
    # Code, documents and requirements; files of runs and of the reader's own have other suffixes.
    named = re.findall(r"`([\w./-]+\.(?:py|md|in)|requirements\.txt|pyproject\.toml)`", document.read_text("utf-8"))
    # Where a name may stand: as said from the top, beside the document, anywhere in common/, or in a recipe.
    folders = [ROOT, document.parent, *(ROOT / "recipes" / name for name in discovery.list_recipes())]
    folders += [path.parent for path in (ROOT / "common").rglob("__init__.py")]
    # `mine` is the copy of a recipe that the documents make.
    missing = [name for name in named if not any((at / name.removeprefix("mine/")).exists() for at in folders)]
    assert missing == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_make_targets_named_in_documents_exist(document):
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    named = re.findall(r"`make ([\w-]+)", document.read_text("utf-8"))
    assert [name for name in named if name not in targets] == []


def test_flags_named_in_documents_exist():
    known = {"--help"}

    def gather(command, context):
        for parameter in command.get_params(context):
            known.update([*parameter.opts, *parameter.secondary_opts])
        if isinstance(command, click.Group):
            for name in command.list_commands(context):
                gather(command.get_command(context, name), click.Context(command, parent=context, info_name=name))

    gather(cli.main, click.Context(cli.main))
    for name in discovery.list_recipes():
        if generation := getattr(discovery.load_recipe_config(name), "GenerationConfig", None):
            known.update(setting.flag for setting in get_config_fields(generation).values())
    for script in (ROOT / "benchmarks").glob("*.py"):
        known.update(re.findall(r'add_argument\("(--[\w-]+)"', script.read_text("utf-8")))
    named = {}
    for document in DOCUMENTS:
        for line in document.read_text("utf-8").splitlines():
            if "pip " not in line:  # pip has flags of its own
                named.update(dict.fromkeys(re.findall(r"(?<![\w-])--[a-z][\w-]*", line), document.name))
    assert {flag: where for flag, where in named.items() if flag not in known} == {}


def test_no_file_names_a_package_index():
    # In pieces, so that this file does not name one either.
    hosts = {".".join(parts) for parts in (("pypi", "org"), ("pythonhosted", "org"), ("anaconda", "org"))}
    hosts |= {".".join(parts) for parts in (("jfrog", "io"), ("pkg", "dev"), ("gemfury", "com"))}
    asked = subprocess.run([sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True).stdout
    found = re.findall(r"https?://\S+", asked + " ".join(v for k, v in os.environ.items() if "INDEX_URL" in k))
    # The index of whoever runs the test too, if it has a name rather than a number.
    hosts |= {
        host for url in found if "." in (host := urlsplit(url.strip("'\"")).hostname or "") and host[-1].isalpha()
    }
    naming = []
    for path in project_files():
        text = path.read_bytes().decode("utf-8", "replace").lower()
        naming += [f"{path.relative_to(ROOT)} names {host}" for host in hosts if host in text]
    assert naming == []


def project_files():
    """Files of the project that are or would be in git; all but hidden folders, runs and exports where git is not."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    if listed.returncode == 0:
        return [path for name in listed.stdout.split("\0") if name and (path := ROOT / name).is_file()]
    left_out = {"runs", "exports", "__pycache__"}
    found = (path for path in ROOT.rglob("*") if path.is_file())
    return [
        path
        for path in found
        if not any(part in left_out or part.startswith(".") for part in Path(path).relative_to(ROOT).parts[:-1])
    ]


def test_guide_to_fine_tuning_has_the_defaults_that_differ():
    rows = []
    for name in discovery.list_recipes():
        module = discovery.load_recipe_config(name)
        options = get_config_fields(module.Config)
        for key, tuned in module.TUNED.items():
            scratch = options[key].metadata["shown"] or options[key].default
            rows.append(f"| `{name}` | `--{key.replace('_', '-')}` | {scratch} | {tuned} |")
    found = re.findall(r"^\| `\w+` \| `--.*$", (ROOT / "docs" / "fine_tuning.md").read_text(encoding="utf-8"), re.M)
    assert sorted(found) == sorted(rows)
