"""Raw examples from files and public data sets: loading, splitting, checking, encoding and batching. What an example
means is the recipe's.
"""
