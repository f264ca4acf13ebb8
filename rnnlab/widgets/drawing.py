"""Drawing without a browser, in the colours of the page, measured in points."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from rnnlab.widgets.labels import visible

if TYPE_CHECKING:
    from PIL import Image, ImageDraw, ImageFont

Theme = Literal["light", "dark"]

# As in colors.js: blue – neutral – orange for signed values, one hue for shares. A test compares.
STOPS = {
    "light": {
        "signed": ["#053a6b", "#2a78b5", "#8fc1e3", "#f7f7f5", "#f4b47a", "#d9731a", "#7d3402"],
        "share": ["#f7f7f5", "#b9cfe2", "#6a9fca", "#2a6ba6", "#0b3766"],
    },
    "dark": {
        "signed": ["#a9dcff", "#4ea3e0", "#1f5c8c", "#202225", "#8f4f17", "#e08a35", "#ffd9a8"],
        "share": ["#202225", "#1d4668", "#2a76ae", "#62aee6", "#cfeaff"],
    },
}
STYLES = {
    "light": {
        "background": "#ffffff",
        "text": "#1c1e21",
        "faint": "#5a5f66",
        "line": "#bdbdbd",
        "accent": "#1565c0",
        "on_accent": "#ffffff",
        "empty": "#f7f7f7",
    },
    "dark": {
        "background": "#16181b",
        "text": "#e8eaed",
        "faint": "#aab0b8",
        "line": "#555b63",
        "accent": "#6cb4ff",
        "on_accent": "#101214",
        "empty": "#1d1f22",
    },
}
MARKS = [
    *("#d55e00", "#0072b2", "#009e73", "#cc79a7"),
    *("#e69f00", "#56b4e9", "#7a6f00", "#666666"),
]


def color_table(theme: Theme, kind: str) -> np.ndarray:
    """The 256 colours of a map, as RGB."""
    stops = np.array([_rgb(stop) for stop in STOPS[theme][kind]], dtype=float)
    at = np.arange(256) / 255 * (len(stops) - 1)
    low = np.minimum(at.astype(int), len(stops) - 2)
    mixed = stops[low] + (at - low)[:, None] * (stops[low + 1] - stops[low])
    return np.floor(mixed + 0.5).astype(np.uint8)


class Page:
    """A picture measured in points, in the colours of a theme."""

    def __init__(self, width: float, height: float, theme: Theme, scale: float) -> None:
        from PIL import Image, ImageDraw

        self.theme: Theme = theme
        self.style = STYLES[theme]
        self.scale = scale
        size = (round(width * scale), round(height * scale))
        self.image: Image.Image = Image.new("RGB", size, self.style["background"])
        self.draw: ImageDraw.ImageDraw = ImageDraw.Draw(self.image)

    def box(
        self,
        *at: float,
        fill: str | None = None,
        outline: str | None = None,
        thick: int = 1,
    ) -> None:
        x0, y0, x1, y1 = self._corners(*at)
        paint = self.style[fill] if fill else None
        border = self.style[outline] if outline else None
        wide = max(1, round(thick * self.scale)) if border else 0
        self.draw.rectangle((x0 - wide, y0 - wide, x1, y1), paint, border, wide or 1)

    def cells(
        self,
        x: float,
        y: float,
        wide: float,
        high: float,
        rows: np.ndarray,
        kind: str,
        limit: float,
    ) -> None:
        """Rows `(columns, units)` as a field of colours; NaN stays empty, ∞ is hatched."""
        from PIL import Image

        x0, y0, x1, y1 = self._corners(x, y, wide, high)
        share = (rows / limit + 1) / 2 if kind == "signed" else rows / limit
        known = ~np.isnan(share)
        index = np.floor(np.clip(np.where(known, share, 0), 0, 1) * 255 + 0.5).astype(int)
        field = color_table(self.theme, kind)[index]
        field[~known] = _rgb(self.style["empty"])
        sheet = Image.fromarray(np.ascontiguousarray(field.transpose(1, 0, 2)))
        size = (max(1, x1 - x0), max(1, y1 - y0))
        self.image.paste(sheet.resize(size, Image.Resampling.NEAREST), (x0, y0))
        odd = Image.fromarray(np.ascontiguousarray(np.isinf(rows).T))
        if odd.getbbox() is not None:
            across, down = np.arange(size[0]), np.arange(size[1])[:, None]
            strokes = (across + down) // max(1, round(self.scale)) % 4 == 3
            paints = np.array([_rgb(self.style["background"]), _rgb(self.style["text"])], np.uint8)
            mask = odd.resize(size, Image.Resampling.NEAREST)
            self.image.paste(Image.fromarray(paints[strokes.astype(int)]), (x0, y0), mask)

    def veil(self, *at: float) -> None:
        from PIL import Image

        x0, y0, x1, y1 = self._corners(*at)
        if x1 > x0:
            under = self.image.crop((x0, y0, x1, y1))
            over = Image.new("RGB", under.size, self.style["background"])
            self.image.paste(Image.blend(under, over, 0.6), (x0, y0))

    def triangle(self, x: float, y: float, color: str) -> None:
        points = [(x - 5, y - 4), (x, y), (x - 5, y + 4)]
        self.draw.polygon([(a * self.scale, b * self.scale) for a, b in points], color)

    def text(
        self,
        x: float,
        y: float,
        text: str,
        color: str,
        anchor: str = "lm",
        size: int = 11,
        room: float | None = None,
    ) -> None:
        text = visible(text)
        font = _font(text, size * self.scale)
        if room is not None and font.getlength(text) > room * self.scale:
            while text and font.getlength(text + "…") > room * self.scale:
                text = text[:-1]
            text += "…"
        self.draw.text((x * self.scale, y * self.scale), text, self.style[color], font, anchor)

    def length(self, text: str, size: int = 11) -> float:
        text = visible(text)
        return _font(text, size * self.scale).getlength(text) / self.scale

    def png(self, colors: int | None = None) -> bytes:
        """The bytes of a PNG file; half as many with 256 colours, none far from the true one."""
        from PIL import Image

        image, file = self.image, io.BytesIO()
        if colors is not None:
            image = image.quantize(colors, Image.Quantize.MAXCOVERAGE)
        image.save(file, "PNG", optimize=True)
        return file.getvalue()

    def _corners(self, x: float, y: float, wide: float, high: float) -> tuple[int, int, int, int]:
        s = self.scale
        return round(x * s), round(y * s), round((x + wide) * s), round((y + high) * s)


def _font(text: str, size: float) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Pillow's own font, the same on every machine; for letters it lacks, one of the system's."""
    from PIL import ImageFont

    own = ImageFont.load_default(size)
    if isinstance(own, ImageFont.FreeTypeFont) and all(_has(own, letter) for letter in set(text)):
        return own
    for name in ("DejaVuSans.ttf", "NotoSans-Regular.ttf", "Arial Unicode.ttf", "arial.ttf"):
        try:
            return ImageFont.truetype(name, size)
        except OSError:
            continue
    return own


def _has(font: ImageFont.FreeTypeFont, letter: str) -> bool:
    """Whether a font has a letter: it is not drawn as the box that stands for a missing one."""
    mask: Any = font.getmask(letter)
    missing: Any = font.getmask("\uffff")
    return letter.isascii() or bytes(mask) != bytes(missing)


def _rgb(color: str) -> tuple[int, int, int]:
    r, g, b = (int(color[i : i + 2], 16) for i in (1, 3, 5))
    return r, g, b
