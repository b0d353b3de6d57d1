"""Numbers about the code: verbs, `Any`, lengths, parameters, import chains, names of locals.

python tests/helpers/code_metrics.py [--list]
"""

from __future__ import annotations

import argparse
import ast
import io
import re
import tokenize
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
PRODUCT = ("common", "recipes", "cli.py")
MAX_PARAMETERS = 8
FORBIDDEN_NAMES = frozenset(["one", "found", "told", "mine", "theirs", "some", "kept", "whose", "alike"])
# First words that make a function's name an imperative, a predicate or a conversion.
VERB_WORDS = """
    accumulate add aggregate align annotate append apply are ask assemble assert assign attend begin bootstrap broadcast
    build cache cast check choose clamp clean clear clip close collect combine compare compile complete compute
    concatenate configure constrain convert copy count create cut decode delete describe deserialize detect diagnose
    diff discard download draw drop embed enable encode end ensure estimate evaluate exchange exclude expand explain
    export extend extract fill filter find finish fit flatten format freeze from gather generate get group guess handle
    has hash import infer init initialize install is iter join keep label launch limit list load lock log lookup
    lowercase make mark mask match measure merge mute name normalize offset open order pack pad parse permute plan play
    plot prepare predict pretokenize print probe propose prove prune quantize quote raise read record refuse register
    reject release remove rename render reorder repair repeat replace report require reset resize resolve restart
    restore resume rotate run sample save scale score seed segment select send serialize serve set setup shard shift
    show shuffle skip sniff sort split stack start stop store stratify strip sum supervise synthesize take to tokenize
    track train transfer transpose trim truncate try unpack update use validate visit wait warn watch weigh wrap write
    yield
"""
VERBS = frozenset(VERB_WORDS.split())
NOUNS = frozenset(["batch_spec", "label_warnings", "seed_generator_states"])  # that begin as a verb does

Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Module:
    """One parsed source file.

    Args:
      path: relative to the root of its tree.
      name: as it is imported.
    """

    path: Path
    name: str
    text: str

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.text)

    @property
    def is_package(self) -> bool:
        return self.path.name == "__init__.py"

    def functions(self) -> Iterator[tuple[str, Function]]:
        """Yield every function and method with its qualified name, functions within functions too."""

        def visit(node: ast.AST, prefix: str) -> Iterator[tuple[str, Function]]:
            for child in ast.iter_child_nodes(node):
                inner = prefix
                if isinstance(child, Function | ast.ClassDef):
                    inner = f"{prefix}{child.name}."
                if isinstance(child, Function):
                    yield f"{prefix}{child.name}", child
                yield from visit(child, inner)

        yield from visit(self.tree, "")

    @cached_property
    def code_lines(self) -> frozenset[int]:
        """The numbers of lines that hold code: no blank ones, comments or docstrings."""
        blank = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}
        lines: set[int] = set()
        for token in tokenize.generate_tokens(io.StringIO(self.text).readline):
            if token.type not in blank:
                lines.update(range(token.start[0], token.end[0] + 1))
        for node in ast.walk(self.tree):
            if isinstance(node, Function | ast.ClassDef | ast.Module) and ast.get_docstring(node) is not None:
                lines.difference_update(range(node.body[0].lineno, (node.body[0].end_lineno or 0) + 1))
        return frozenset(lines)

    def count_code_lines(self, node: Function) -> int:
        """Return how many lines of code a function has, its `def` line and inner functions included."""
        return sum(node.lineno <= line <= (node.end_lineno or 0) for line in self.code_lines)


def load_modules(root: Path, *places: str) -> list[Module]:
    """Return the Python files of folders or files below a root, in order of their paths."""
    modules = []
    for place in places:
        paths = [root / place] if place.endswith(".py") else sorted((root / place).rglob("*.py"))
        for path in filter(Path.is_file, paths):
            relative = path.relative_to(root)
            parts = relative.with_suffix("").parts
            name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
            modules.append(Module(relative, name, path.read_text(encoding="utf-8")))
    return modules


# Imports


def _is_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING")


def iter_imports(module: Module, type_checking: bool = False) -> Iterator[tuple[int, str]]:
    """Yield (line, dotted name) of what a module imports, lazily too; `from a import b` gives "a.b".

    Args:
      type_checking: whether to yield what is imported for types only, too: it costs nothing and makes no cycle.
    """

    def visit(node: ast.AST) -> Iterator[tuple[int, str]]:
        child: ast.AST
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                package = module.name.split(".")[: None if module.is_package else -1]
                package = package[: len(package) - node.level + 1]
                base = ".".join([*package, *([base] if base else [])])
            yield from ((node.lineno, f"{base}.{alias.name}") for alias in node.names)
        elif _is_type_checking(node) and not type_checking:
            assert isinstance(node, ast.If)
            for child in node.orelse:
                yield from visit(child)
        else:
            for child in ast.iter_child_nodes(node):
                yield from visit(child)

    yield from visit(module.tree)


def find_module(name: str, known: set[str]) -> str | None:
    """Return the known module that an imported dotted name is, or is in."""
    while name and name not in known:
        name = name.rpartition(".")[0]
    return name or None


def make_import_graph(modules: Sequence[Module]) -> dict[str, set[str]]:
    """Return what each module imports of the others, without imports for types only."""
    known = {module.name for module in modules}
    graph: dict[str, set[str]] = {module.name: set() for module in modules}
    for module in modules:
        targets = {find_module(name, known) for _, name in iter_imports(module)}
        graph[module.name] = {name for name in targets if name and name != module.name}
    return graph


def find_cycles(graph: dict[str, set[str]]) -> list[list[str]]:
    """Return the groups of modules that import each other in a circle, however long."""
    reach: dict[str, set[str]] = {}
    for start in graph:
        seen: set[str] = set()
        stack = list(graph[start])
        while stack:
            name = stack.pop()
            if name not in seen:
                seen.add(name)
                stack += graph[name]
        reach[start] = seen
    groups = {tuple(sorted({name} | {other for other in reach[name] if name in reach[other]})) for name in graph}
    return sorted(list(group) for group in groups if len(group) > 1)


def find_longest_chain(graph: dict[str, set[str]]) -> list[str]:
    """Return the longest chain of modules of which each imports the next; a circle counts as one module."""
    group_of = {name: name for name in graph} | {name: cycle[0] for cycle in find_cycles(graph) for name in cycle}
    merged: dict[str, set[str]] = {group: set() for group in group_of.values()}
    for name, targets in graph.items():
        merged[group_of[name]] |= {group_of[target] for target in targets} - {group_of[name]}
    chains: dict[str, list[str]] = {}

    def chain(name: str) -> list[str]:
        if name not in chains:
            chains[name] = [name, *max((chain(target) for target in sorted(merged[name])), key=len, default=[])]
        return chains[name]

    return max((chain(name) for name in sorted(merged)), key=len, default=[])


# Functions


def count_parameters(function: Function) -> int:
    """Return how many parameters a function has, without self, cls, *args and **kwargs."""
    arguments = function.args
    names = [argument.arg for argument in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)]
    return len(names) - (names[:1] in (["self"], ["cls"]))


def find_keras_classes(modules: Sequence[Module]) -> set[str]:
    """Return the names of classes that extend a Keras layer or optimizer, or one of these, and of our own optimizer."""
    bases = {
        node.name: [ast.unparse(base) for base in node.bases]
        for module in modules
        for node in ast.walk(module.tree)
        if isinstance(node, ast.ClassDef)
    }
    keras = ("keras.layers.", "keras.optimizers.", "keras.Layer", "keras.Optimizer")
    classes = {
        node.name
        for module in modules
        if module.name == "common.training.optimizer"
        for node in module.tree.body
        if isinstance(node, ast.ClassDef)
    }
    while more := {
        name
        for name, its in bases.items()
        if name not in classes and any(base.startswith(keras) or base.split(".")[-1] in classes for base in its)
    }:
        classes |= more
    return classes


def is_click_callback(function: Function) -> bool:
    """Return whether a function is decorated as a command, or takes the context of one."""
    decorators = [ast.unparse(decorator) for decorator in function.decorator_list]
    return any(re.search(r"^click\.|\.(command|group)\b", decorator) for decorator in decorators)


def find_long_parameter_lists(modules: Sequence[Module], limit: int = MAX_PARAMETERS) -> list[str]:
    """Return the functions with more parameters than the limit; layers, optimizers and Click callbacks excepted."""
    excepted = {f"{name}.__init__" for name in find_keras_classes(modules)} | {"config_field"}
    return [
        f"{module.path}:{function.lineno} {name} ({count})"
        for module in modules
        for name, function in module.functions()
        if (count := count_parameters(function)) > limit and name not in excepted and not is_click_callback(function)
    ]


def measure_functions(modules: Sequence[Module]) -> list[tuple[int, str]]:
    """Return (lines of code, place) of all functions, the longest first."""
    lengths = [
        (module.count_code_lines(function), f"{module.path}:{function.lineno} {name}")
        for module in modules
        for name, function in module.functions()
    ]
    return sorted(lengths, reverse=True)


def split_by_verb(modules: Sequence[Module]) -> tuple[list[str], list[str]]:
    """Return the public functions at the level of modules whose names begin with a verb, and the others."""
    verbs: list[str] = []
    others: list[str] = []
    for module in modules:
        for node in module.tree.body:
            if isinstance(node, Function) and not node.name.startswith("_"):
                is_verb = node.name.split("_")[0] in VERBS and node.name not in NOUNS
                is_verb |= "_to_" in node.name  # tokens_to_frames
                (verbs if is_verb else others).append(f"{module.path}:{node.lineno} {node.name}")
    return verbs, others


# Names


def find_forbidden_names(modules: Sequence[Module]) -> list[str]:
    """Return where a local, a parameter or a loop variable has a name that says nothing; fields of classes may."""
    places = []
    for module in modules:
        fields = {
            id(target)
            for node in ast.walk(module.tree)
            if isinstance(node, ast.ClassDef)
            for statement in node.body
            if isinstance(statement, ast.Assign | ast.AnnAssign)
            for target in ast.walk(statement)
            if isinstance(target, ast.Name)
        }
        for node in ast.walk(module.tree):
            name = None
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store) and id(node) not in fields:
                name = node.id
            elif isinstance(node, ast.arg):
                name = node.arg
            elif isinstance(node, ast.ExceptHandler | ast.MatchAs | ast.MatchStar):
                name = node.name
            if name in FORBIDDEN_NAMES:
                places.append(f"{module.path}:{getattr(node, 'lineno', 0)} {name}")
    return places


def find_words(modules: Sequence[Module], pattern: str) -> list[str]:
    """Return where a pattern stands in source lines, once for each time."""
    return [
        f"{module.path}:{number}"
        for module in modules
        for number, line in enumerate(module.text.splitlines(), 1)
        for _ in re.findall(pattern, line)
    ]


def find_format_skips(modules: Sequence[Module]) -> list[str]:
    """Return the comments that keep `ruff format` off."""
    return [
        f"{module.path}:{token.start[0]}"
        for module in modules
        for token in tokenize.generate_tokens(io.StringIO(module.text).readline)
        if token.type == tokenize.COMMENT and re.search(r"fmt:\s*(skip|off)", token.string)
    ]


# A recipe


def _is_abstract(function: Function, in_protocol: bool) -> bool:
    if any(ast.unparse(decorator).endswith("abstractmethod") for decorator in function.decorator_list):
        return True
    body = [node for node in function.body if not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant))]
    return in_protocol and not body


def find_required_members(modules: Sequence[Module]) -> list[str]:
    """Return what a recipe must write: attributes without a value and abstract methods of `common.recipe.Recipe`."""
    required = []
    for module in modules:
        for node in module.tree.body if module.name == "common.recipe" else ():
            if isinstance(node, ast.ClassDef) and node.name == "Recipe":
                in_protocol = any(ast.unparse(base).startswith("Protocol") for base in node.bases)
                for member in node.body:
                    if isinstance(member, ast.AnnAssign) and member.value is None:
                        required.append(ast.unparse(member.target))
                    elif isinstance(member, Function) and _is_abstract(member, in_protocol):
                        required.append(member.name)
    return required


# The command


def collect_metrics(root: Path) -> dict[str, tuple[str, list[str]]]:
    """Return by name a number, as text, and what it counts."""
    common, product = load_modules(root, "common"), load_modules(root, *PRODUCT)
    everything = [*product, *load_modules(root, "tests", "benchmarks")]
    verbs, others = split_by_verb(common)
    percent = 100 * len(verbs) / max(len(verbs) + len(others), 1)
    functions = measure_functions(product)
    files = sorted(((len(module.text.splitlines()), str(module.path)) for module in product), reverse=True)
    chain = find_longest_chain(graph := make_import_graph(common))
    at_root = [str(module.path) for module in common if len(module.path.parts) == 2 and not module.is_package]
    lists = {
        "modules at the root of common": at_root,
        "members that a recipe must write": find_required_members(common),
        "longest import chain in common": chain,
        "circles of imports in common": [" - ".join(cycle) for cycle in find_cycles(graph)],
        '"Any" in common, recipes and cli.py': find_words(product, r"\bAny\b"),
        f"functions with more than {MAX_PARAMETERS} parameters": find_long_parameter_lists(product),
        "forbidden names of locals": find_forbidden_names(product),
        "# fmt: skip in all code": find_format_skips(everything),
    }
    metrics = {
        "public functions of common that begin with a verb": (
            f"{len(verbs)} of {len(verbs) + len(others)}, {percent:.0f}%",
            others,
        ),
        "longest function, lines of code": (f"{functions[0][0]}", [f"{place} ({n})" for n, place in functions[:20]]),
        "longest file, lines": (f"{files[0][0]}", [f"{path} ({lines})" for lines, path in files[:20]]),
    }
    return metrics | {name: (str(len(places)), places) for name, places in lists.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--list", action="store_true", help="list what is counted, or what is not yet a verb")
    parser.add_argument("--root", type=Path, default=ROOT, metavar="FOLDER", help="another checkout")
    options = parser.parse_args()
    for name, (value, places) in collect_metrics(options.root.resolve()).items():
        print(f"{name:52} {value}")
        for place in places if options.list else ():
            print(f"    {place}")


if __name__ == "__main__":
    main()
