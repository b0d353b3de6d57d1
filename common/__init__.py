"""Mechanism that recipes compose; nothing here knows a task by name."""

__version__ = "0.1.0"
