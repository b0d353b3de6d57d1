"""The house rules, held by this tree: see tests/helpers/architecture.py, and code_metrics.py for the numbers."""

import pytest

from common import PROJECT_ROOT as ROOT
from tests.helpers.architecture import RULES


@pytest.mark.parametrize("rule", RULES)
def test_the_tree_keeps_the_rule(rule):
    broken = RULES[rule](ROOT)
    assert not broken, "\n".join([f"{rule}:", *broken])
