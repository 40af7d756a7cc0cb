"""A format of this double's own for what TensorRT serialises: magic, head (JSON), body, checksum."""

from __future__ import annotations

import hashlib
import json


class BadPlan(Exception):
    """What is wrong, in TensorRT's words where it has some."""


def pack(magic: bytes, head: dict, body: bytes) -> bytes:
    text = json.dumps(head).encode()
    content = magic + len(text).to_bytes(4, "little") + text + body
    return content + hashlib.sha256(content).digest()


def unpack(magic: bytes, content: bytes) -> tuple[dict, bytes]:
    """Head and body.

    Raises:
        BadPlan: not made by `pack`, or changed. (TensorRT has no checksum: it may crash on what was altered.)
    """
    if content[: len(magic)] != magic:
        raise BadPlan("Serialization assertion magicTagRead == kMAGIC_TAG failed. Magic tag does not match")
    if hashlib.sha256(content[:-32]).digest() != content[-32:]:
        raise BadPlan("Serialization assertion size failed. The content is truncated or altered")
    start = len(magic) + 4
    end = start + int.from_bytes(content[start - 4 : start], "little")
    return json.loads(content[start:end]), content[end:-32]
