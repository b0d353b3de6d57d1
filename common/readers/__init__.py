"""Readers: raw examples out of files, one at a time. Each module is about one format, and serves every recipe.

A reader is found by what a file holds rather than by its name, where the two can differ. It is a `Reader`, which has a
note for people, and `rows()`: (location, example) of every row that can be used, as often as one likes and in the same
order. Rows that cannot be used go to a Problems.
"""
