"""What commands print, as text for people: lists of recipes, measures, flags."""

from __future__ import annotations

import json
from collections.abc import Mapping

from common.discovery import RECIPES_DIR, list_recipes, load_recipe_config
from common.types import JsonObject


def collect_recipe_facts() -> list[JsonObject]:
    """Return what the built-in recipes say of themselves, with their last measured scores."""
    facts = []
    for name in list_recipes():
        about = load_recipe_config(name).ABOUT
        file = RECIPES_DIR / name / "measured.json"
        measured = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
        facts.append({"recipe": name, **vars(about), "measured": measured})
    return facts


def format_recipes(facts: list[JsonObject]) -> str:
    """Format what `collect_recipe_facts` gave."""
    lines = []
    for recipe in facts:
        lines.append(f"{recipe['recipe']}: {recipe['task']}, {recipe['input']} -> {recipe['output']}")
        lines.append(f"  model   {recipe['model']}\n  data    {recipe['data']}")
        lines.append(f"  scores  {recipe['measured'].get('summary', 'not measured')}")
    return "\n".join(lines)


def format_evaluation(measured: Mapping[str, object]) -> str:
    """Format measures: numbers, then those of each label.

    >>> print(format_evaluation({"accuracy": 0.5, "examples": 1200, "per_label": {"pos": {"f1": 0.25, "support": 3}}}))
    accuracy             0.5000
    examples             1,200
      pos                f1 0.250, support 3
    """
    lines = []
    for name, value in measured.items():
        if isinstance(value, int | float):
            shown = f"{value:.4f}" if isinstance(value, float) else f"{value:,}"
            lines.append(f"{name.replace('_', ' '):20} {shown}")
    for group in (value for name, value in measured.items() if name.startswith("per_")):
        assert isinstance(group, Mapping)
        for label, scores in group.items():
            shown = ", ".join(f"{k} {v:.3f}" if isinstance(v, float) else f"{k} {v:,}" for k, v in scores.items())
            lines.append(f"  {label:18} {shown}")
    return "\n".join(lines)


def format_flags(settings: Mapping[str, object]) -> list[str]:
    """Return settings as words of a command line.

    >>> format_flags({"min_count": 2, "offline": False, "column": ("text=a", "label=b")})
    ['--min-count', '2', '--no-offline', '--column', 'text=a', '--column', 'label=b']
    """
    words = []
    for setting, value in settings.items():
        name = setting.replace("_", "-")
        if isinstance(value, bool):
            words.append(f"--{'' if value else 'no-'}{name}")
        else:
            for member in value if isinstance(value, tuple) else (value,):
                words += [f"--{name}", str(member)]
    return words
