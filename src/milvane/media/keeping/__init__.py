"""Images and videos that were fetched, kept on the disk for a while within a bound."""
