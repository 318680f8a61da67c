"""Backup and restore of a whole installation: database, state repository, and secrets if they are asked for."""
