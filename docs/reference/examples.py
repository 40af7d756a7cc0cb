"""Lets mkdocstrings show our `Example:` sections as code; by itself it would make a remark with quotations of them."""

import griffe


class ExampleSections(griffe.Extension):
    def on_object(self, *, obj: griffe.Object, **_: object) -> None:
        if obj.docstring:
            obj.docstring.value = obj.docstring.value.replace("\nExample:\n", "\n**Example**\n\n")
