"""The demo: a whole Mergeyard with real systems on one machine. Imported by nobody."""
