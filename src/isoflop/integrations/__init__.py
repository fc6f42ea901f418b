"""Trainers of other frameworks as trainers of isoflop; each needs an extra of its own."""
