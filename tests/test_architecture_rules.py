"""Each house rule catches a small tree that breaks it and lets one pass that keeps it."""

import textwrap

import pytest

from tests.helpers import architecture, code_metrics
from tests.helpers.code_metrics import load_modules


def write_tree(root, files):
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text).lstrip("\n"), encoding="utf-8")
    return root


LONG = "def train():\n" + '    """Train.\n\n    More.\n    """\n\n    # why\n' + "    step()\n" * 59
PARAMETERS = ", ".join(f"p{number}" for number in range(9))
CONFIG = """
class RunConfig:
    data: tuple[str, ...] = ()

    @property
    def settled(self): ...
"""

# rule: (files that keep it, files that break it, what is said of these)
CASES = {
    "packages import only what is below them": [
        (
            {"common/training/trainer.py": "from common.data import batching\nimport common.errors\nimport numpy"},
            {"common/data/batching.py": "def load():\n    from common.training.trainer import fit"},
            "common/data/batching.py:2 imports common.training",
        ),
        (
            {"common/training/trainer.py": "if TYPE_CHECKING:\n    from common.commands.run import Run"},
            {"common/training/trainer.py": "if not TYPE_CHECKING:\n    from common.commands.run import Run"},
            "common/training/trainer.py:2 imports common.commands",
        ),
        (
            {"common/data/loading.py": "from .readers import csv_files\nfrom common import __version__"},
            {"common/data/loading.py": "from ..modeling.losses import cross_entropy"},
            "common/data/loading.py:1 imports common.modeling",
        ),
        (
            {"common/recipe.py": "from common import types"},
            {"common/recipe.py": "from common import api"},
            "common/recipe.py:1 imports common.api",
        ),
        (
            {"cli.py": "from common.commands.run import run"},
            {"common/api.py": "import recipes"},
            "common/api.py:1 imports recipes",
        ),
        ({"common/errors.py": "import re"}, {"common/helpers.py": "import re"}, "common/helpers.py stands in no layer"),
    ],
    "common imports no recipe, and a recipe no other": [
        (
            {
                "common/discovery.py": 'import_module(f"recipes.{name}")',
                "recipes/ner/recipe.py": "from recipes.ner import x",
            },
            {"common/inference/predict.py": 'import_module(f"recipes.{name}")'},
            "common/inference/predict.py:1 names recipes.",
        ),
        (
            {"recipes/ner/recipe.py": "from . import data\nfrom common import text"},
            {"recipes/ner/recipe.py": "from recipes.music import data"},
            "recipes/ner/recipe.py:1 imports recipes.music.data",
        ),
        (
            {"common/errors.py": '"Of recipes."'},
            {"common/errors.py": "if TYPE_CHECKING:\n    from recipes.ner.recipe import Recipe"},
            "common/errors.py:2 imports recipes.ner.recipe.Recipe",
        ),
    ],
    "no test module imports another": [
        (
            {"tests/test_a.py": "from helpers.runs import made\nfrom common.test_data import x"},
            {"tests/test_a.py": "", "tests/worker.py": "from test_a import made"},
            "tests/worker.py:1 imports test_a.made",
        ),
        (
            {"tests/data/test_a.py": "import helpers"},
            {"tests/data/test_a.py": "", "tests/test_b.py": "from data.test_a import made"},
            "tests/test_b.py:1 imports data.test_a.made",
        ),
    ],
    "every package says in one to three sentences what it is": [
        (
            {"common/data/__init__.py": '"""Data. Read, split."""'},
            {"common/data/__init__.py": ""},
            "common/data/__init__.py has no docstring",
        ),
        (
            {"common/__init__.py": '"""One. Two. Three."""'},
            {"common/__init__.py": '"""One. Two. Three. Four."""'},
            "common/__init__.py has 4 sentences",
        ),
        (
            {"common/__init__.py": '"""One."""', "common/a.py": ""},
            {"common/data/a.py": "x = 1"},
            "common/data/__init__.py has no docstring",
        ),
    ],
    "functions have at most 60 lines of code": [
        ({"common/a.py": LONG}, {"common/a.py": LONG + "    end()\n"}, "common/a.py:1 train (61)"),
    ],
    "files have at most 350 lines, tests 500": [
        (
            {"common/a.py": "x = 1\n" * 350, "tests/a.py": "x = 1\n" * 500},
            {"common/a.py": "x = 1\n" * 351},
            "common/a.py (351)",
        ),
        ({"tests/a.py": "x = 1\n" * 500}, {"tests/a.py": "x = 1\n" * 501}, "tests/a.py (501)"),
    ],
    "functions have at most 8 parameters": [
        (
            {"common/a.py": f"class A:\n    def f(self, {PARAMETERS[:-4]}, *more, **others): ..."},
            {"common/a.py": f"class A:\n    def f(self, {PARAMETERS}): ..."},
            "common/a.py:2 A.f (9)",
        ),
        (
            {"common/a.py": f"class A(keras.layers.Layer): ...\nclass B(A):\n  def __init__(self, {PARAMETERS}): ..."},
            {"common/a.py": f"class B:\n    def __init__(self, *, {PARAMETERS}): ..."},
            "common/a.py:2 B.__init__ (9)",
        ),
        (
            {"common/training/optimizer.py": f"class A:\n    def __init__(self, {PARAMETERS}): ..."},
            {"common/training/optimizer.py": f"class A:\n    def update(self, {PARAMETERS}): ..."},
            "common/training/optimizer.py:2 A.update (9)",
        ),
        (
            {"cli.py": f"@main.command(cls=Command)\ndef predict({PARAMETERS}): ..."},
            {"cli.py": f"def predict({PARAMETERS}): ..."},
            "cli.py:1 predict (9)",
        ),
    ],
    "ruff format decides the layout": [
        ({"common/a.py": 'x = "# fmt: skip"'}, {"tests/a.py": "x = 1  # fmt: skip"}, "tests/a.py:1"),
    ],
    "types are real, not Any": [
        ({"common/a.py": "x: Any\n" * 250 + "AnyOf = 1\n"}, {"common/a.py": "x: Any\n" * 251}, "common/a.py:251"),
    ],
    "locals are named for what they hold": [
        (
            {"common/a.py": "class A:\n    one: int\n    told = 3\n\nx = a.one + found"},
            {"common/a.py": "def f(told): ..."},
            "common/a.py:1 told",
        ),
        (
            {"common/a.py": "x = [row for row in rows]"},
            {"recipes/ner/a.py": "x = [one for one in rows]"},
            "recipes/ner/a.py:1 one",
        ),
        (
            {"common/a.py": "for row, label in rows: ..."},
            {"common/a.py": "for row, (kept, _) in rows: ..."},
            "common/a.py:1 kept",
        ),
        ({"common/a.py": "x = lambda row: row"}, {"common/a.py": "if found := f(): ..."}, "common/a.py:1 found"),
        ({"common/a.py": "x = 1"}, {"cli.py": "with f() as some, g() as theirs: ..."}, "cli.py:1 some"),
        ({"common/a.py": "x = 1"}, {"cli.py": "try: ...\nexcept OSError as mine: ..."}, "cli.py:2 mine"),
    ],
    "public functions of common are verbs": [
        (
            {"common/a.py": "def load(): ...\ndef is_a(): ...\ndef a_to_b(): ...\ndef a(): ...\ndef b(): ..."},
            {"common/a.py": "def load_data(): ...\ndef loaded(): ...\ndef _found(): ..."},
            "common/a.py:2 loaded",
        ),
    ],
    "only readers tell kinds of fields apart": [
        (
            {"common/data/readers/a.py": 'if field.kind == "tags": ...'},
            {"common/data/loading.py": 'x = any(field.kind == "tags" for field in fields)'},
            "common/data/loading.py:1 field.kind ? 'tags'",
        ),
        (
            {"common/recipe.py": "class Recipe:\n    def input_fields(self):\n        return x.kind in KINDS"},
            {"common/recipe.py": "class Recipe:\n    def fields(self):\n        return x.kind in KINDS"},
            "common/recipe.py:3 x.kind ? KINDS",
        ),
        (
            {"common/a.py": 'FORMAT = {"sdist": 1}\nx = archive.kind in FORMAT or layer.kind == "max"'},
            {"common/a.py": 'TEXTS = frozenset(("text", "tokens"))\nx = field.kind not in TEXTS'},
            "common/a.py:2 field.kind ? TEXTS",
        ),
        (
            {"common/a.py": "def f():\n    kinds = {x.kind for x in fields}\n    return len(kinds) == 2"},
            {"common/a.py": 'def f():\n    kinds = {x.kind for x in fields}\n    return "image" in kinds'},
            "common/a.py:3 'image' ? kinds",
        ),
        (
            {"common/a.py": 'match unit.kind:\n    case "bars": ...'},
            {"common/a.py": 'match field.kind:\n    case "text" | "image": ...'},
            "common/a.py:1 field.kind ? 'image'",
        ),
        (
            {"common/a.py": "x = self.kind not in formats()"},
            {"common/a.py": "x = field.kind not in formats()"},
            "common/a.py:1 field.kind ? formats()",
        ),
    ],
    "common knows no recipe by name": [
        (
            {"recipes/ner/recipe.py": "", "common/a.py": 'x = name == "nerves" or f("ner")'},
            {"recipes/ner/recipe.py": "", "common/a.py": 'x = name in ("ner", "tags")'},
            "common/a.py:1 ner",
        ),
    ],
    "common asks for no setting of one recipe": [
        (
            {
                "common/config.py": CONFIG,
                "common/a.py": 'getattr(config, "data")\ngetattr(config, name)\ngetattr(x, "y")',
            },
            {"common/config.py": CONFIG, "common/a.py": 'x = getattr(self.config, "steps", None)'},
            "common/a.py:1 getattr(self.config, 'steps', None)",
        ),
    ],
}


def test_every_rule_is_tried():
    assert CASES.keys() == architecture.RULES.keys()


@pytest.mark.parametrize(
    ("rule", "keeps", "breaks", "said"), [(rule, *case) for rule, cases in CASES.items() for case in cases]
)
def test_rule_catches_what_breaks_it_and_nothing_else(tmp_path, rule, keeps, breaks, said):
    find = architecture.RULES[rule]
    assert find(write_tree(tmp_path / "keeps", keeps)) == []
    assert said in find(write_tree(tmp_path / "breaks", breaks))


def test_layers_are_told_by_package():
    assert architecture.find_place("common.data.readers.midi_files") == "common.data"
    assert architecture.find_place("common.errors.ConfigError") == "common.errors"
    assert architecture.find_place("recipes.ner.recipe") == "recipes"


# Numbers


def test_longest_chain_counts_lazy_imports_and_a_circle_as_one_module(tmp_path):
    files = {
        "common/a.py": "from common import b",
        "common/b.py": "def f():\n    from common.c import g",
        "common/c.py": "import common.d\nif TYPE_CHECKING:\n    import common.e",
        "common/d.py": "from common.c import g",
        "common/e.py": "",
    }
    graph = code_metrics.make_import_graph(load_modules(write_tree(tmp_path, files), "common"))
    assert code_metrics.find_cycles(graph) == [["common.c", "common.d"]]
    assert code_metrics.find_longest_chain(graph) == ["common.a", "common.b", "common.c"]


def test_required_members_are_attributes_without_a_value_and_abstract_methods(tmp_path):
    recipe = '''
        class Recipe(ABC):
            fields: tuple
            parts: dict = {}

            def __init__(self): ...

            @classmethod
            @abstractmethod
            def load_data(cls): """Load."""

            def check(self): """Do nothing."""
        '''
    modules = load_modules(write_tree(tmp_path, {"common/recipe.py": recipe}), "common")
    assert code_metrics.find_required_members(modules) == ["fields", "load_data"]


def test_all_members_of_a_protocol_are_required(tmp_path):
    recipe = 'class Recipe(Protocol):\n    fields: tuple\n\n    def learn(self): """Learn."""\n'
    modules = load_modules(write_tree(tmp_path, {"common/recipe.py": recipe}), "common")
    assert code_metrics.find_required_members(modules) == ["fields", "learn"]


def test_metrics_are_collected_from_a_tree(tmp_path):
    files = {"common/a.py": "def load(): ...\ndef loaded(): ...\nx: Any", "cli.py": "x = 1  # fmt: skip"}
    metrics = code_metrics.collect_metrics(write_tree(tmp_path, files))
    values = {name: value for name, (value, _) in metrics.items()}
    assert values["public functions of common that begin with a verb"] == "1 of 2, 50%"
    assert values['"Any" in common, recipes and cli.py'] == "1"
    assert values["# fmt: skip in all code"] == "1"
    assert values["longest function, lines of code"] == "1"
