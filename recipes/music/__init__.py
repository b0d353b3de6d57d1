"""Music generation: a few notes, or none -> a piece, LSTM over frames of notes."""
