"""A trained run or an export put to use: predictions, annotation, active learning, and the export itself."""
