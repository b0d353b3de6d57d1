"""One module per file format, each an iterator of raw examples with the location of each row. Choosing a reader by the
look of a file belongs to `common.data.loading`.
"""
