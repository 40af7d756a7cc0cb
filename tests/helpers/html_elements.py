"""What a page of HTML holds."""

from __future__ import annotations

from html.parser import HTMLParser


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
