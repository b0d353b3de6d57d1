"""Fetches the default data of every recipe: `python -m recipes`, a part of `make setup`."""

import sys

from common.data.default_datasets import download_archive
from common.discovery import import_recipe_module, list_recipes
from common.errors import DataError

if __name__ == "__main__":
    try:
        for name in list_recipes():
            for archive in import_recipe_module(name, "data").ARCHIVES:
                download_archive(archive, say=lambda line: print(line, file=sys.stderr))
    except DataError as error:
        sys.exit(str(error))
