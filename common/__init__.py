"""Mechanism that recipes compose: data, models, training, inference and the commands. Nothing here knows a task by
name.
"""

from pathlib import Path

__version__ = "0.1.0"
PROJECT_ROOT = Path(__file__).resolve().parent.parent
