"""Labelled videos, on the workstation: lists of data sets, and a loader for training and evaluation."""
