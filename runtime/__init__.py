"""The chain on the device: a bundle and a video in, a label and where it stopped out."""

from tlee.runtime.batch import BatchRecognizer
from tlee.runtime.recognizer import Recognizer
from tlee.runtime.results import Frame, Result, TraceStep

__all__ = ["BatchRecognizer", "Frame", "Recognizer", "Result", "TraceStep"]
