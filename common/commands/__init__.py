"""What the command line does, one module per command. Parsing stays in `cli.py`."""
