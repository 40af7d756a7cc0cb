"""What a page of HTML holds."""

from __future__ import annotations

import re
from html.parser import HTMLParser

FETCHING = {"script", "link", "iframe", "img", "object", "base"}


class Elements(HTMLParser):
    """Names of elements, their attributes, and the text outside of them."""

    def __init__(self, content: str) -> None:
        super().__init__()
        self.names: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.text = ""
        self.feed(content)

    def handle_starttag(self, tag, attrs):
        self.names.append(tag)
        self.attributes += attrs

    def handle_data(self, data):
        self.text += data

    def fetched(self) -> list[str]:
        """What makes a page fetch something: elements, attributes and styles, but for what the page itself holds."""
        found = [name for name in self.names if name in FETCHING]
        for name, value in self.attributes:
            named = name in ("src", "href", "xlink:href", "srcset", "data", "action", "poster")
            if named and not (value or "").startswith(("#", "data:image/png;base64,")):
                found.append(f"{name}={value}")
            found += [place for place in re.findall(r"url\(([^)]*)\)", value or "") if not place.startswith("#")]
            if "http" in (value or "") and not name.startswith("xmlns"):
                found.append(f"{name}={value}")
        return found
