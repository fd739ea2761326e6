"""Graphs into arrays: one file per runtime, one shape of call for all."""
