"""Sentiment analysis: text -> label, many-to-one LSTM."""
