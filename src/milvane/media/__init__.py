"""Media: images and videos that are kept here, and their signed addresses."""
