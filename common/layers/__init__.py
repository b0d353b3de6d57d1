"""Keras layers that recipes share and others may copy into a model of their own."""
