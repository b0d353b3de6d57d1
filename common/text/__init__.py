"""Text as TensorFlow ops: tokenizers, vocabularies, tag schemes, placeholders, languages. Reading text files belongs to
`common.data`.
"""
