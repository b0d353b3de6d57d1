"""Image classification: image bytes -> label, convolutional network."""
