"""The journal: each server's way through each run, in one SQLite database that outlives clc."""
