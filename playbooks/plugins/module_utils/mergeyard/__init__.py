"""Shared by the resource modules of the catalogue; must not know any kind or system type."""
