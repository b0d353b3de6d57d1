"""Translation: text -> text in another language, encoder-decoder with attention."""
