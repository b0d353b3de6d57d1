"""The process and its surroundings: files, the run directory, the console, signals, parallel work, TensorFlow's set-up.
Knows nothing of examples or models.
"""
