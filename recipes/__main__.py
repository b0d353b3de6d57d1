"""Fetches the default data of every recipe: `python -m recipes`, a part of `make setup`."""

import sys

from common.data.default_datasets import fetch
from common.discovery import module, names
from common.errors import DataError

if __name__ == "__main__":
    try:
        for name in names():
            for archive in module(name, "data").ARCHIVES:
                fetch(archive, say=lambda line: print(line, file=sys.stderr))
    except DataError as error:
        sys.exit(str(error))
