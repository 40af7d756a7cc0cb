"""Looks a machine over: what runs a bundle here, what is missing, and the command that repairs it."""
