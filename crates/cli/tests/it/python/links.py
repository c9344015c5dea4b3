"""Reads an HTML page from the standard input and prints its parts as JSON.

Fails for a page whose elements are not closed in order.
"""

import html.parser
import json
import sys

VOID = {"meta", "input", "br", "hr", "img", "link"}


class Page(html.parser.HTMLParser):
    def __init__(self):
        super().__init__(convert_charrefs=True)
        self.open, self.links, self.fields, self.forms, self.texts = [], [], [], [], []

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        if tag not in VOID:
            self.open.append(tag)
        if tag == "a":
            self.links.append(attrs["href"])
            self.texts.append("")
        if tag == "form":
            self.forms.append([attrs.get("method"), attrs.get("action")])
        if tag == "input":
            self.fields.append([attrs.get("name"), attrs.get("value")])

    def handle_endtag(self, tag):
        assert self.open and self.open[-1] == tag, f"</{tag}> while {self.open} are open"
        self.open.pop()

    def handle_data(self, data):
        if self.open and self.open[-1] == "a":
            self.texts[-1] += data


page = Page()
page.feed(sys.stdin.buffer.read().decode("utf-8"))
page.close()
assert not page.open, f"never closed: {page.open}"
json.dump({"links": page.links, "texts": page.texts, "fields": page.fields, "forms": page.forms}, sys.stdout)
