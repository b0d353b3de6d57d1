"""Music as tokens, and tokens as MIDI, sheet music, sound and pictures. Reading music files belongs to
`common.data.readers`.
"""
