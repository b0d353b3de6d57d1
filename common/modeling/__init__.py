"""What models and their scores are made of: losses, metrics, heads, decoding, uncertainty. Whole networks belong to
recipes.
"""
