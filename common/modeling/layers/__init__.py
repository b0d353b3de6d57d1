"""Keras layers that more than one recipe uses, or that stand on their own. A layer of a single task belongs to its
recipe.
"""
