"""The color scales of a report: one for a light page, one for a dark page.

A score's place on the scale is a lightness that changes evenly, in OKLab.
"""

import math

# Where the scale begins and ends: lightness, chroma and hue (degrees) in OKLab. High
# scores stand out from the page in both: dark blue on white, pale yellow on black.
_LIGHT = (0.97, 0.035, 105.0), (0.40, 0.115, 262.0)
_DARK = (0.30, 0.075, 272.0), (0.92, 0.125, 102.0)


class Scale:
    """A sequential scale of colors, even to the eye.

    Parameters
    ----------
    low, high : tuple of float
        Lightness, chroma and hue of both ends.

    Examples
    --------
    >>> from sklearn_llm2vec._report.colors import SCALES
    >>> SCALES["light"].color(0.0), SCALES["light"].text(0.0)
    ('#f8f7dc', '#000000')
    """

    def __init__(self, low, high):
        self.low, self.high = low, high

    def color(self, place):
        """Color of a place from 0 to 1, as ``#rrggbb``."""
        return _hex(self._rgb(place))

    def text(self, place):
        """The ink that is easier to read on that color."""
        background = luminance(self._rgb(place))
        inks = {"#000000": 0.0, "#ffffff": 1.0}
        return max(inks, key=lambda ink: contrast(inks[ink], background))

    def gradient(self, n_stops=9):
        """The scale as a CSS gradient."""
        stops = ", ".join(self.color(n / (n_stops - 1)) for n in range(n_stops))
        return f"linear-gradient(90deg, {stops})"

    def _rgb(self, place):
        place = min(max(place, 0.0), 1.0)
        light, chroma, hue = (
            a + (b - a) * place for a, b in zip(self.low, self.high, strict=True)
        )
        # The hue turns through green; less chroma where a screen has no such color.
        while True:
            rgb = _oklab_to_rgb(light, chroma, math.radians(hue))
            if all(-1e-4 <= part <= 1 + 1e-4 for part in rgb):
                return tuple(min(max(part, 0.0), 1.0) for part in rgb)
            chroma *= 0.97


def _oklab_to_rgb(light, chroma, hue):
    """Linear sRGB of a color in OKLab (B. Ottosson, 2020)."""
    a, b = chroma * math.cos(hue), chroma * math.sin(hue)
    long = (light + 0.3963377774 * a + 0.2158037573 * b) ** 3
    medium = (light - 0.1055613458 * a - 0.0638541728 * b) ** 3
    short = (light - 0.0894841775 * a - 1.2914855480 * b) ** 3
    return (
        4.0767416621 * long - 3.3077115913 * medium + 0.2309699292 * short,
        -1.2684380046 * long + 2.6097574011 * medium - 0.3413193965 * short,
        -0.0041960863 * long - 0.7034186147 * medium + 1.7076147010 * short,
    )


def _hex(rgb):
    return "#" + "".join(f"{round(255 * _gamma(part)):02x}" for part in rgb)


def _gamma(part):
    return 12.92 * part if part <= 0.0031308 else 1.055 * part ** (1 / 2.4) - 0.055


def luminance(rgb):
    """Relative luminance of linear sRGB (WCAG 2)."""
    return 0.2126 * rgb[0] + 0.7152 * rgb[1] + 0.0722 * rgb[2]


def contrast(one, other):
    """Contrast of two luminances, from 1 to 21 (WCAG 2)."""
    return (max(one, other) + 0.05) / (min(one, other) + 0.05)


SCALES = {"light": Scale(*_LIGHT), "dark": Scale(*_DARK)}
