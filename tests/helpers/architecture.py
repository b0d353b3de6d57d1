"""The house rules as functions: each takes the root of a checkout and returns where the rule is broken."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from tests.helpers import code_metrics
from tests.helpers.code_metrics import PRODUCT, Function, Module, iter_imports, load_modules

# Each imports only what stands above it, and itself; those of one row nothing of each other. Root modules and packages.
LAYERS = (
    ("common.errors",),
    ("common.config", "common.row_errors"),
    ("common.discovery", "common.config_io", "common.types"),
    ("common.runtime",),
    ("common.text", "common.music"),
    ("common.modeling", "common.data"),
    ("common.recipe",),
    ("common.training",),
    ("common.inference",),
    ("common.reports", "common.serving"),
    ("common.commands",),
    ("common.api",),
    ("recipes",),
    ("cli",),
)
RANKS = {place: rank for rank, places in enumerate(LAYERS) for place in places}
FIELD_KINDS = frozenset(["text", "label", "image", "tokens", "tags", "events", "number"])
READERS = "common/data/readers/"
CODE_LINES, FILE_LINES, TEST_LINES, ANY_WORDS, VERB_SHARE = 60, 350, 500, 250, 0.6


# Imports


def find_place(name: str) -> str:
    """Return the package or root module that a dotted name belongs to: "common.data", "recipes", "cli"."""
    parts = name.split(".")
    return ".".join(parts[:2]) if parts[0] == "common" else parts[0]


def find_misplaced_imports(root: Path) -> list[str]:
    """Return imports against the order of `LAYERS`, lazy ones too; those under TYPE_CHECKING are free."""
    places = []
    for module in load_modules(root, *PRODUCT):
        here = find_place(module.name)
        if here == "common":
            continue
        if here not in RANKS:
            places.append(f"{module.path} stands in no layer")
            continue
        for line, name in iter_imports(module):
            target = find_place(name)
            if target not in RANKS and name.startswith("common.") and (root / "common" / name.split(".")[1]).exists():
                places.append(f"{module.path}:{line} imports {target}, which stands in no layer")
            elif target != here and RANKS.get(target, -1) >= RANKS[here]:
                places.append(f"{module.path}:{line} imports {target}")
    return places


def find_imports_of_recipes(root: Path) -> list[str]:
    """Return where common names the package of recipes, or a recipe imports another one.

    `common/discovery.py` alone may import a recipe, by a name that it makes.
    """
    places = []
    for module in load_modules(root, "common", "recipes"):
        in_common, own = module.name.startswith("common"), module.name.split(".")[1:2]
        for line, name in iter_imports(module, type_checking=True):
            parts = name.split(".")
            if parts[0] == "recipes" and (in_common or (own and parts[1:2] != own and parts[1:])):
                places.append(f"{module.path}:{line} imports {name}")
        if in_common and module.path != Path("common/discovery.py"):
            for node in ast.walk(module.tree):
                if not isinstance(node, ast.Constant) or not isinstance(node.value, str):
                    continue
                if re.match(r"recipes\.(\w+(\.\w+)*)?$", node.value):
                    places.append(f"{module.path}:{node.lineno} names {node.value}")
    return places


def find_imports_of_tests(root: Path) -> list[str]:
    """Return where a file under tests/ imports a test module; what tests share stands in helpers."""
    modules = load_modules(root, "tests")
    test_names = {module.path.stem for module in modules if module.path.stem.startswith("test_")}
    folders = {"tests", *(folder for module in modules for folder in module.path.parts[:-1])}
    places = []
    for module in modules:
        for line, name in iter_imports(module, type_checking=True):
            parts = name.split(".")
            while parts[0] in folders and len(parts) > 1:
                parts = parts[1:]
            if parts[0] in test_names:
                places.append(f"{module.path}:{line} imports {name}")
    return places


def find_undocumented_packages(root: Path) -> list[str]:
    """Return folders of modules without an `__init__.py` whose docstring has one to three sentences."""
    places = []
    modules = {module.path: module for module in load_modules(root, "common", "recipes")}
    for folder in sorted({path.parent for path in modules}):
        package = modules.get(folder / "__init__.py")
        text = ast.get_docstring(package.tree) if package else None
        sentences = len(re.findall(r"[.!?](?=\s|$)", text or ""))
        if not 1 <= sentences <= 3:
            places.append(f"{folder}/__init__.py has {f'{sentences} sentences' if text else 'no docstring'}")
    return places


# Limits


def find_long_functions(root: Path) -> list[str]:
    lengths = code_metrics.measure_functions(load_modules(root, *PRODUCT))
    return [f"{place} ({lines})" for lines, place in lengths if lines > CODE_LINES]


def find_long_files(root: Path) -> list[str]:
    places = []
    for limit, folders in ((FILE_LINES, PRODUCT), (TEST_LINES, ("tests",))):
        lengths = ((module.path, len(module.text.splitlines())) for module in load_modules(root, *folders))
        places += [f"{path} ({lines})" for path, lines in lengths if lines > limit]
    return places


def find_long_parameter_lists(root: Path) -> list[str]:
    return code_metrics.find_long_parameter_lists(load_modules(root, *PRODUCT))


def find_format_skips(root: Path) -> list[str]:
    return code_metrics.find_format_skips(load_modules(root, *PRODUCT, "tests", "benchmarks"))


def find_too_many_any(root: Path) -> list[str]:
    places = code_metrics.find_words(load_modules(root, *PRODUCT), r"\bAny\b")
    return places if len(places) > ANY_WORDS else []


def find_forbidden_names(root: Path) -> list[str]:
    return code_metrics.find_forbidden_names(load_modules(root, *PRODUCT))


def find_too_few_verbs(root: Path) -> list[str]:
    verbs, others = code_metrics.split_by_verb(load_modules(root, "common"))
    return others if len(verbs) < VERB_SHARE * (len(verbs) + len(others)) else []


# What belongs to a recipe or a reader


def _has_kind(node: ast.AST, tainted: set[str]) -> bool:
    """Whether the value of an expression is made from a `.kind`, or from a local that is.

    Conditions within it are comparisons of their own, and a number of kinds is no kind.
    """
    if isinstance(node, ast.Compare) or (isinstance(node, ast.Call) and ast.unparse(node.func) == "len"):
        return False
    if (isinstance(node, ast.Attribute) and node.attr == "kind") or (isinstance(node, ast.Name) and node.id in tainted):
        return True
    return any(_has_kind(child, tainted) for child in ast.iter_child_nodes(node))


def _find_strings(node: ast.AST, constants: dict[str, ast.AST]) -> set[str] | None:
    """Return the strings in an expression, constants of the module resolved; None where it holds another name."""
    if isinstance(node, ast.Dict):
        keys = [_find_strings(key, constants) for key in node.keys if key is not None]
        return None if None in keys else set().union(*filter(None, keys))
    strings: set[str] = set()
    for part in ast.walk(node):
        if isinstance(part, ast.Constant) and isinstance(part.value, str):
            strings.add(part.value)
        elif isinstance(part, ast.Name) and part.id in constants:
            inner = _find_strings(constants[part.id], {**constants, part.id: ast.Constant("")})
            if inner is None:
                return None
            strings |= inner
        elif isinstance(part, ast.Name) and part.id not in ("frozenset", "set", "tuple", "list", "sorted"):
            return None
    return strings


def _find_tainted(function: ast.AST) -> set[str]:
    """Return the locals that are assigned from an expression with a `.kind`."""
    names: set[str] = set()
    for node in ast.walk(function):
        if isinstance(node, ast.Assign | ast.AnnAssign | ast.NamedExpr) and node.value and _has_kind(node.value, set()):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names |= {target.id for target in targets if isinstance(target, ast.Name)}
    return names


def _is_branch_on_kind(operands: list[ast.expr], tainted: set[str], constants: dict[str, ast.AST]) -> bool:
    """Whether a comparison tells kinds of fields apart.

    What a `.kind` is compared with must hold a kind of field; where that is not to be seen, it counts unless the
    `.kind` is an attribute of `self`, which no field is.
    """
    with_kind = [operand for operand in operands if _has_kind(operand, tainted)]
    rest = [_find_strings(operand, constants) for operand in operands if operand not in with_kind]
    if not with_kind:
        return False
    if None in rest or not rest:
        return not all(ast.unparse(operand) == "self.kind" for operand in with_kind)
    return bool(set().union(*filter(None, rest)) & FIELD_KINDS)


def _iter_comparisons(tree: ast.AST) -> Iterator[tuple[int, list[ast.expr]]]:
    """Yield the line and the operands of each comparison, and of each `match` its subject with each value."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Compare):
            yield node.lineno, [node.left, *node.comparators]
        elif isinstance(node, ast.Match):
            for part in (part for case in node.cases for part in ast.walk(case.pattern)):
                if isinstance(part, ast.MatchValue):
                    yield node.lineno, [node.subject, part.value]


def _find_constants(module: Module) -> dict[str, ast.AST]:
    """Return the values that are assigned to names at the level of a module."""
    return {
        target.id: node.value
        for node in module.tree.body
        if isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None
        for target in (node.targets if isinstance(node, ast.Assign) else [node.target])
        if isinstance(target, ast.Name)
    }


def find_branches_on_kind(root: Path) -> list[str]:
    """Return where common tells kinds of fields apart, but for readers and the default of `input_fields`."""
    places = []
    for module in load_modules(root, "common"):
        if module.path.as_posix().startswith(READERS):
            continue
        constants = _find_constants(module)
        tainted_in = {function: _find_tainted(function) for _, function in module.functions()}
        excepted = {
            line
            for name, function in module.functions()
            if module.name == "common.recipe" and name == "Recipe.input_fields"
            for line in range(function.lineno, (function.end_lineno or 0) + 1)
        }
        for line, operands in _iter_comparisons(module.tree):
            around = (names for function, names in tainted_in.items() if _holds(function, line))
            if line not in excepted and _is_branch_on_kind(operands, set().union(*around), constants):
                places.append(f"{module.path}:{line} {' ? '.join(map(ast.unparse, operands))}")
    return places


def _holds(function: Function, line: int) -> bool:
    return function.lineno <= line <= (function.end_lineno or 0)


def find_branches_on_recipes(root: Path) -> list[str]:
    """Return where common compares something with the name of a recipe of ours."""
    names = {path.parent.name for path in (root / "recipes").glob("*/recipe.py")}
    places = []
    for module in load_modules(root, "common"):
        for line, operands in _iter_comparisons(module.tree):
            strings = {
                part.value
                for operand in operands
                for part in ast.walk(operand)
                if isinstance(part, ast.Constant) and isinstance(part.value, str)
            }
            places += [f"{module.path}:{line} {name}" for name in sorted(strings & names)]
    return places


def find_settings(root: Path) -> set[str]:
    """Return the fields, properties and methods of `RunConfig`."""
    members = set()
    for module in load_modules(root, "common/config.py"):
        for node in module.tree.body:
            if isinstance(node, ast.ClassDef) and node.name == "RunConfig":
                members |= {ast.unparse(member.target) for member in node.body if isinstance(member, ast.AnnAssign)}
                members |= {member.name for member in node.body if isinstance(member, Function)}
    return members


def find_foreign_settings(root: Path) -> list[str]:
    """Return where common asks a config by name for what `RunConfig` does not have."""
    settings = find_settings(root)
    places = []
    for module in load_modules(root, "common"):
        for node in ast.walk(module.tree):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in ("getattr", "hasattr") and len(node.args) > 1:
                subject, name = node.args[:2]
                is_config = isinstance(subject, ast.Name | ast.Attribute) and re.search(
                    r"config$|^settled$", ast.unparse(subject)
                )
                if is_config and isinstance(name, ast.Constant) and name.value not in settings:
                    places.append(f"{module.path}:{node.lineno} {ast.unparse(node)}")
    return places


# Every rule, by what it says
RULES = {
    "packages import only what is below them": find_misplaced_imports,
    "common imports no recipe, and a recipe no other": find_imports_of_recipes,
    "no test module imports another": find_imports_of_tests,
    "every package says in one to three sentences what it is": find_undocumented_packages,
    "functions have at most 60 lines of code": find_long_functions,
    "files have at most 350 lines, tests 500": find_long_files,
    "functions have at most 8 parameters": find_long_parameter_lists,
    "ruff format decides the layout": find_format_skips,
    "types are real, not Any": find_too_many_any,
    "locals are named for what they hold": find_forbidden_names,
    "public functions of common are verbs": find_too_few_verbs,
    "only readers tell kinds of fields apart": find_branches_on_kind,
    "common knows no recipe by name": find_branches_on_recipes,
    "common asks for no setting of one recipe": find_foreign_settings,
}
