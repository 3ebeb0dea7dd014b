"""A parser that checks pages of the report."""

import html.parser


class Page(html.parser.HTMLParser):
  """A page of HTML without scripts and event handlers, whose tags are all closed.

  Attributes:
    sources: the sources of images.
    links: the targets of links.
    text: the text.
  """

  def __init__(self, text):
    super().__init__()
    self._open, self.sources, self.links, self.text = [], [], [], ""
    self.feed(text)
    assert not self._open

  def handle_starttag(self, tag, attrs):
    attrs = dict(attrs)
    assert tag not in ("script", "link", "iframe", "object")
    assert not any(name.startswith("on") for name in attrs)
    self.sources += [attrs["src"]] if "src" in attrs else []
    self.links += [attrs["href"]] if "href" in attrs else []
    if tag not in ("img", "meta", "br"):
      self._open.append(tag)

  def handle_endtag(self, tag):
    assert self._open.pop() == tag

  def handle_data(self, data):
    self.text += data

  def require_self_contained(self):
    """Requires that the page refers to nothing outside of itself."""
    assert all(source.startswith("data:image/png;base64,") for source in self.sources)
    assert all(link.startswith("#") for link in self.links)
