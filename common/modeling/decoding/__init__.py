"""Token sequences from a step function, in graph: greedy search, beam search, sampling. The step function belongs to
the recipe.
"""
