"""One folder a task. Recipes import common, libraries and their own modules, never each other."""
