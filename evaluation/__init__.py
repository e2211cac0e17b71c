"""Scores models on photos in colour: metrics, tables and pictures."""
