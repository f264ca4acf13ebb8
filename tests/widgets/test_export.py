"""What lasts, without a browser: the numbers in the page, the pixels of the picture, the still."""

import asyncio
import base64
import gzip
import html
import io
import json
import re
import struct
from html.parser import HTMLParser

import numpy as np
import pytest
import torch
from PIL import Image

import rnnlab as rl
from rnnlab.widgets import drawing, export, picture, still
from rnnlab.widgets.export import EXACT
from rnnlab.widgets.module import STATIC

XS = np.linspace(-1, 1, 36).reshape(12, 3)


@pytest.fixture
def explorer():
    torch.manual_seed(0)
    made = rl.explore(rl.Chain(rl.LSTM(3, 8), rl.Dense(8, 2)), XS)
    made.session.run(torch.tensor(XS, dtype=torch.float32), progress=False)
    yield made
    made.close()


def long_explorer(steps, hidden=16):
    torch.manual_seed(0)
    made = rl.explore(rl.LSTM(2, hidden), input_names="ab")
    made.session.run(torch.randn(steps, 2), progress=False)
    return made


class Page(HTMLParser):
    """A page as a browser would take it apart: its tags, and the text of each script."""

    def __init__(self, path):
        super().__init__()
        self.tags, self.scripts, self.title, self._open = [], {}, "", None
        self.feed(path.read_text(encoding="utf-8"))
        blob = gzip.decompress(base64.b64decode(self.scripts["data"]))
        (length,) = struct.unpack_from("<I", blob)
        self.head = json.loads(blob[4 : 4 + length])
        self.tables, self.ends, at = {}, {}, 4 + length
        for branch in self.head["branches"]:
            count = branch["rows"] - branch["first"]
            self.tables[branch["name"]] = self.table(branch, count, blob[at : at + branch["bytes"]])
            at += branch["bytes"]
            if history := branch.get("history"):
                data = blob[at : at + history["bytes"]]
                ends = self.table(history, 2 * history["buckets"], data)
                self.ends[branch["name"]] = ends[: len(ends) // 2], ends[len(ends) // 2 :]
                at += history["bytes"]
        assert at == len(blob)

    def table(self, branch, count, data):
        width = self.head["width"]
        if self.head["exact"]:
            planes = np.frombuffer(data, np.uint8).reshape(4, -1).T
            return np.ascontiguousarray(planes).view("<f4").reshape(width, count).T
        codes = np.frombuffer(data, np.uint8).reshape(width, count)
        if branch["differences"]:
            codes = np.cumsum(codes, axis=1, dtype=np.uint8)
        low, step = (
            np.concatenate([np.full(scale["units"], scale[key]) for scale in branch["scales"]])
            for key in ("low", "step")
        )
        middle = np.where(low < 0, 127, 0)
        return np.where(codes.T == 255, np.nan, (codes.T - middle.astype(float)) * step)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self._open = dict(attrs).get("id", dict(attrs).get("type")) if tag == "script" else tag

    def handle_data(self, data):
        if self._open == "title":
            self.title += data
        elif self._open in ("data", "module"):
            self.scripts[self._open] = self.scripts.get(self._open, "") + data

    def handle_endtag(self, tag):
        self._open = None


def assert_holds(page, session, branch, **close):
    trace = session.trace(branch)
    for lane in page.head["traits"]["lanes"]:
        shown = page.tables[branch][:, lane["from"] : lane["from"] + lane["units"]]
        np.testing.assert_allclose(shown[1:], trace[lane["name"]], **(close or {"rtol": 0}))
        if lane["role"] == "state":
            np.testing.assert_allclose(shown[0], trace.initial[lane["name"]], **(close or {}))
        else:
            assert np.isnan(shown[0]).all()


class TestHtml:
    def test_a_short_recording_is_kept_to_the_bit(self, explorer, tmp_path):
        path = explorer.to_html(tmp_path / "page.html")
        page = Page(path)
        assert page.head["exact"] is True
        assert page.head["t"] == 12
        assert_holds(page, explorer.session, "main")

    def test_of_a_very_long_one_the_newest_rows_and_the_extremes_of_all(
        self, tmp_path, monkeypatch
    ):
        monkeypatch.setattr(export, "MOST", 200_000)
        explorer = long_explorer(30_000)
        path = explorer.to_html(tmp_path / "page.html")
        page = Page(path)
        (branch,) = page.head["branches"]
        width = page.head["width"]
        assert branch["rows"] == 30_001
        kept = branch["rows"] - branch["first"]
        assert kept == 200_000 // width // 2
        level, (lows, highs) = branch["history"]["level"], page.ends["main"]
        assert width * (kept + 2 * len(lows)) <= 200_000
        trace = explorer.session.trace()
        for lane in page.head["traits"]["lanes"]:
            columns = slice(lane["from"], lane["from"] + lane["units"])
            rows = trace[lane["name"]]
            close = {"atol": 1.01 * np.abs(rows).max() / 254, "rtol": 0}
            np.testing.assert_allclose(page.tables["main"][:, columns], rows[-kept:], **close)
            edges = np.arange(0, len(rows), 1 << level)
            for found, extreme in ((lows, np.minimum), (highs, np.maximum)):
                np.testing.assert_allclose(
                    found[:, columns], extreme.reduceat(rows, edges, axis=0), **close
                )
        state = [v for v in branch["initial"] if v is not None]
        assert state == [0.0] * 32  # h and c; there is no input or output before the first step
        assert path.stat().st_size < 600_000

    @pytest.mark.parametrize("smooth", [False, True])
    def test_a_long_one_is_rounded_by_half_a_level_at_most(self, smooth, tmp_path):
        if smooth:
            explorer = rl.explore(rl.LSTM(2, 16), input_names="ab")
            times = torch.arange(EXACT // 40)[:, None] / torch.tensor([90.0, 70.0])
            explorer.session.run(torch.sin(times), progress=False)
        else:
            model = rl.Recur(lambda h, x: (x, 2 * h), torch.zeros(16))
            explorer = rl.explore(model, input_names="abcdefghijklmnop")
            torch.manual_seed(0)
            explorer.session.run(torch.randn(EXACT // 40, 16), progress=False)
        page = Page(explorer.to_html(tmp_path / "page.html"))
        assert page.head["exact"] is False
        assert page.head["branches"][0]["differences"] is smooth
        trace = explorer.session.trace()
        for lane in page.head["traits"]["lanes"]:
            most = np.abs(trace[lane["name"]]).max()
            shown = page.tables["main"][1:, lane["from"] : lane["from"] + lane["units"]]
            assert np.abs(shown - trace[lane["name"]]).max() <= most / 254 * 1.001
            if lane["role"] == "state":
                assert (page.tables["main"][0, lane["from"]] == 0).all(), "zero stays zero"

    def test_the_page_needs_nothing_from_elsewhere(self, explorer, tmp_path):
        path = explorer.to_html(tmp_path / "page.html")
        page = Page(path)
        for _, attributes in page.tags:
            for name in ("src", "href"):
                assert attributes.get(name, "data:").startswith("data:")
        assert "//" not in re.sub(r"(?m)//.*$", "", page.scripts["module"]).replace('"//', "")
        assert "http" not in page.scripts["module"] + page.head["module"]
        policy = next(a["content"] for t, a in page.tags if t == "meta" and "http-equiv" in a)
        assert policy.startswith("default-src 'none';")
        assert "connect-src" not in policy

    def test_its_size(self, explorer, tmp_path):
        assert explorer.to_html(tmp_path / "a.html").stat().st_size < 80_000
        slow = rl.explore(rl.Recur(lambda h, x: (0.97 * h + x, h[..., :1]), torch.zeros(64)), XS)
        torch.manual_seed(0)
        slow.session.run(torch.randn(2000, 64) / 20, progress=False)
        empty = (tmp_path / "a.html").stat().st_size
        size = slow.to_html(tmp_path / "b.html").stat().st_size
        assert (size - empty) / 2 < 190_000  # x is noise: 64 of the 129 columns do not pack

    def test_branches(self, explorer, tmp_path):
        session = explorer.session
        session.branch("kept")
        session.back(4)
        session.step([3.0, 3.0, 3.0])
        fork = session.branch_name
        page = Page(explorer.to_html(tmp_path / "one.html"))
        assert list(page.tables) == page.head["traits"]["branches"] == [fork]
        page = Page(explorer.to_html(tmp_path / "two.html", branches=["kept", fork]))
        assert list(page.tables) == [fork, "kept"]
        assert_holds(page, session, fork)
        assert_holds(page, session, "kept")
        explorer.compared = ["kept"]
        assert list(Page(explorer.to_html(tmp_path / "three.html")).tables) == [fork, "kept"]
        page = Page(explorer.to_html(tmp_path / "four.html", branches="main"))
        assert list(page.tables) == [fork, "main"], "a text is one name"
        for wrong, text in (
            (["nowhere"], "to_html: branches: there is no branch 'nowhere'; there are 'main', "),
            (3, "to_html: branches must be a list of names of branches, not 3."),
        ):
            with pytest.raises(rl.RnnlabError) as raised:
                explorer.to_html(tmp_path / "five.html", branches=wrong)
            assert str(raised.value).startswith(text)
        for path in (3, None, ""):
            with pytest.raises(rl.RnnlabError, match="path must be the name of a file to write"):
                explorer.to_html(path)
        assert not (tmp_path / "five.html").exists()

    def test_orders_and_planes_travel_along(self, explorer, tmp_path):
        from rnnlab.widgets.insight import order, plane

        head = Page(explorer.to_html(tmp_path / "page.html")).head
        by = "principal component"
        assert head["orders"][by] == order(explorer.session, by)
        np.testing.assert_allclose(
            head["planes"]["0.h"]["axes"], plane(explorer.session, "0.h")["axes"], rtol=1e-6
        )

    def test_before_the_first_step(self, tmp_path):
        explorer = rl.explore(rl.GRU(2, 3), input_names="ab")
        page = Page(explorer.to_html(tmp_path / "page.html"))
        assert page.tables["main"].shape == (1, 8)
        assert page.title == "rnnlab: 0 steps of main"

    def test_text_is_never_markup(self, explorer, tmp_path):
        evil = '</script><img src=x onerror="alert(1)">'
        explorer.session.branch(evil)
        page = Page(explorer.to_html(tmp_path / "page.html"))
        assert page.title == f"rnnlab: 12 steps of {evil}"
        assert "img" not in [tag for tag, _ in page.tags]
        assert list(page.tables) == [evil]

    def test_tokens_travel_along_as_text(self, tmp_path):
        words = rl.Vocabulary(["river", "</script>"], one_hot=True)
        explorer = rl.explore(rl.Session(rl.RNN(2, 3), words.encode))
        explorer.session.run(["river", "</script>"])
        page = Page(explorer.to_html(tmp_path / "page.html"))
        assert page.head["branches"][0]["labels"] == ["river", "</script>"]

    def test_it_is_the_same_every_time(self, explorer, tmp_path):
        a, b = (explorer.to_html(tmp_path / name).read_bytes() for name in ("a", "b"))
        assert a == b
        packed = base64.b64decode(Page(tmp_path / "a").scripts["data"])
        assert packed[4:8] == bytes(4), "no time of day"
        assert b"model_id" not in a
        assert explorer.model_id.encode() not in a

    def test_a_path_that_cannot_be_written(self, explorer, tmp_path):
        with pytest.raises(rl.RnnlabError) as raised:
            explorer.to_html(tmp_path / "none" / "page.html")
        assert str(raised.value) == (
            f"to_html: cannot write {tmp_path / 'none' / 'page.html'}: No such file or directory. "
            "Choose another path."
        )


def pixels(png):
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB")).astype(int)


class TestPng:
    def test_every_cell_has_the_colour_of_its_value(self, explorer):
        image = pixels(explorer.to_png(width=900))
        trace = explorer.session.trace()
        tops = [picture.HEAD, picture.HEAD + 42 + picture.GAP]  # x: 3 units of 14 points
        column = min(44, 720 / 13)
        table = drawing.color_table("light", "signed")
        limit = picture.nice_limit(np.abs(trace["0.h"]).max())
        for step in (1, 5, 12):
            for unit in range(8):
                x = int(picture.GUTTER + (step + 0.5) * column)
                y = int(tops[1] + (unit + 0.5) * 14)
                value = trace["0.h"][step - 1, unit]
                index = np.floor((value / limit + 1) / 2 * 255 + 0.5).astype(int)
                assert image[y, x].tolist() == table[index].tolist(), (step, unit)

    def test_the_scale_runs_from_the_largest_value_at_the_top(self, explorer):
        image = pixels(explorer.to_png(width=900))
        top = picture.HEAD + 42 + picture.GAP
        scale = image[top : top + 112, 900 - picture.SCALE + 14]
        table = drawing.color_table("light", "signed")
        assert [scale[1].tolist(), scale[-2].tolist()] == [table[255].tolist(), table[0].tolist()]

    def test_the_place_is_marked_and_what_lies_ahead_is_set_back(self, explorer):
        whole = pixels(explorer.to_png())
        explorer.session.back(4)
        image = pixels(explorer.to_png())
        y = picture.HEAD + 42 + picture.GAP + 7
        column = min(44, 720 / 13)
        x = [int(picture.GUTTER + (step + 0.5) * column) for step in range(13)]
        assert (image[y, x[8]] == whole[y, x[8]]).all()
        assert (image[y, x[10]] > whole[y, x[10]]).any()
        accent = list(drawing._rgb(drawing.STYLES["light"]["accent"]))
        edge = int(picture.GUTTER + 8 * column)
        assert accent in image[y, edge - 3 : edge + 3].tolist()

    def test_a_spike_is_not_lost_where_pixels_are_few(self):
        explorer = rl.explore(rl.Recur(lambda h, x: (x, h), torch.zeros(1)), input_names="a")
        xs = torch.zeros(50_000, 1)
        xs[31_234] = 5.0
        explorer.session.run(xs, progress=False)
        image = pixels(explorer.to_png(width=500))
        row = image[picture.HEAD + 7, picture.GUTTER : 500 - picture.SCALE]
        hot = drawing.color_table("light", "signed")[255]
        (found,) = np.flatnonzero((row == hot).all(axis=1))
        assert found == pytest.approx(31_235 / 50_001 * len(row), abs=1)

    def test_nor_one_where_units_share_a_pixel(self):
        explorer = rl.explore(rl.Recur(lambda h, x: (h + x, 0 * h), torch.zeros(1024)), XS)
        explorer.session.step(5.0 * torch.eye(1024)[777])
        image = pixels(picture.draw(explorer, 640, (0, 1), tallest=168).png())
        column = min(44, (640 - picture.GUTTER - picture.SCALE) / 10)
        top = picture.HEAD + 168 + picture.GAP  # beneath the lane of the input
        cells = image[top : top + 168, int(picture.GUTTER + 1.5 * column)]
        hot = drawing.color_table("light", "signed")[255]
        (found,) = np.flatnonzero((cells == hot).all(axis=1))
        assert found == 777 * 168 // 1024

    def test_what_is_not_finite_is_hatched(self):
        session = rl.Session(rl.RNN(2, 3), allow_nonfinite=True)
        explorer = rl.explore(session, input_names="ab")
        plain = pixels(explorer.to_png())
        session.run(torch.tensor([[0.1, 0.2], [0.1, float("nan")], [float("inf"), 0.2]]))
        image = pixels(explorer.to_png())
        column = min(44, (900 - picture.GUTTER - picture.SCALE) / 10)

        def cell(row, slot):
            x, y = int(picture.GUTTER + row * column), picture.HEAD + 14 * slot
            return image[y + 1 : y + 13, x + 4 : x + 40].reshape(-1, 3)

        ink = np.array(drawing._rgb(drawing.STYLES["light"]["text"]), np.uint8)
        hatched = [
            [bool((cell(row, slot) == ink).all(axis=1).any()) for slot in (0, 1)]
            for row in (0, 1, 2, 3)
        ]
        assert hatched == [[False, False], [False, False], [False, True], [True, False]]
        assert 0.2 < (cell(2, 1) == ink).all(axis=1).mean() < 0.3, "a quarter is ink"
        assert (plain[: picture.HEAD - 8, 230:] == 255).all()
        assert (image[: picture.HEAD - 8, 230:] < 128).any(), "and the head says so"

    def test_words_stand_above_the_steps_that_read_them(self, monkeypatch):
        explorer = rl.explore(rl.zoo.bank())
        explorer.session.run(["the", "river", "bank"], progress=False)
        texts = self.texts(monkeypatch, explorer, span=(2, 3))
        assert [text for text, y in texts if y == picture.HEAD - 9] == ["river", "bank"]

    def test_blank_words_and_control_characters_get_a_sign(self, monkeypatch):
        model = rl.Chain(rl.LSTM(4, 3), rl.Dense(3, 4))
        words = rl.Vocabulary(["a", " ", "\n", "\u202eb"], one_hot=True, characters=False)
        explorer = rl.explore(model, vocabulary=words)
        for word in (" ", "\n", "\u202eb"):
            explorer.session.step(word)
        texts = self.texts(monkeypatch, explorer)
        above = [text for text, y in texts if y == picture.HEAD - 9]
        assert above[:2] == ["␣", "⏎"]
        assert "⟨202E⟩b" in [text for text, _ in texts], "and so are the names of units"

    def test_long_names_have_what_room_there_is_and_no_step_is_hidden_by_the_place(
        self, monkeypatch
    ):
        names = ["velocity", "gaze direction", "go"]
        explorer = rl.explore(rl.RNN(3, 4), torch.zeros(10_100, 3), input_names=names)
        explorer.session.run(torch.zeros(10_100, 3), progress=False)
        texts = [text for text, _ in self.texts(monkeypatch, explorer)]
        assert {"velocity", "go"} < set(texts)
        assert {"9000", "10000"} & set(texts) == {"9000"}, "10000 would lie under 10100"

    @staticmethod
    def texts(monkeypatch, explorer, **options):
        """What a picture says, and how far down."""
        from PIL import ImageDraw

        drawn = []
        monkeypatch.setattr(
            ImageDraw.ImageDraw, "text", lambda _, at, text, *more: drawn.append((text, at[1]))
        )
        explorer.to_png(**options)
        return drawn

    def test_the_order_of_units_is_that_of_the_view(self, explorer):
        before = pixels(explorer.to_png())
        explorer.orders = {"0.h": [7, 6, 5, 4, 3, 2, 1, 0]}
        after = pixels(explorer.to_png())
        top, x = picture.HEAD + 42 + picture.GAP, picture.GUTTER + 60
        for unit in range(8):
            above, below = int(top + (unit + 0.5) * 14), int(top + (7.5 - unit) * 14)
            assert (before[above, x] == after[below, x]).all()

    def test_span_theme_and_scale(self, explorer):
        assert pixels(explorer.to_png(width=400, scale=2)).shape[1] == 800
        dark = pixels(explorer.to_png(theme="dark"))
        light = pixels(explorer.to_png(theme="light"))
        assert dark.mean() < 90 < 150 < light.mean()
        part, whole = explorer.to_png(span=(3, 6)), explorer.to_png()
        assert (pixels(part) != pixels(whole)).any()
        y, column = picture.HEAD + 7, min(44, 720 / 13)
        one = pixels(part)[y, int(picture.GUTTER + 22)]
        assert (one == pixels(whole)[y, int(picture.GUTTER + 3.5 * column)]).all()

    def test_it_can_be_written(self, explorer, tmp_path):
        png = explorer.to_png(tmp_path / "a.png")
        assert (tmp_path / "a.png").read_bytes() == png
        assert png.startswith(b"\x89PNG\r\n")
        with pytest.raises(rl.RnnlabError, match=r"^to_png: cannot write .*: Is a directory\. "):
            explorer.to_png(tmp_path)

    @pytest.mark.parametrize(
        ("options", "text"),
        [
            ({"theme": "blue"}, "to_png: theme must be 'light' or 'dark', not 'blue'."),
            (
                {"width": 100},
                "to_png: width must lie between 280 and 8000, scale above 0 and up to 8; "
                "got width=100, scale=1.0.",
            ),
            (
                {"width": "x", "scale": None},
                "to_png: width must lie between 280 and 8000, scale above 0 and up to 8; "
                "got width='x', scale=None.",
            ),
            ({"theme": ["dark"]}, "to_png: theme must be 'light' or 'dark', not ['dark']."),
            *(
                (
                    {"span": span},
                    "to_png: span must be the first and the last of the rows 0 to 12 (row 0 is "
                    f"the initial state), as (0, 12); got {span!r}.",
                )
                for span in [(3, 99), 3, (1, 2.5), (5, 2), "ab", ()]
            ),
            ({"path": 3}, "to_png: path must be the name of a file to write, not 3."),
            ({"path": ""}, "to_png: path must be the name of a file to write, not ''."),
        ],
    )
    def test_what_cannot_be_drawn_says_why(self, explorer, options, text):
        with pytest.raises(rl.RnnlabError) as raised:
            explorer.to_png(**options)
        assert str(raised.value) == text

    def test_the_colours_are_those_of_the_page(self):
        script = (STATIC / "colors.js").read_text(encoding="utf-8")
        for theme, maps in drawing.STOPS.items():
            part = script[script.index(f"{theme}: {{") :]
            for kind, stops in maps.items():
                listed = re.search(rf"{kind}: \[([^\]]*)\]", part)
                assert re.findall(r"#\w{6}", listed[1]) == stops
        script = (STATIC / "stateview.js").read_text(encoding="utf-8")
        marks = script[script.index("MARKS = [") :]
        assert re.findall(r"#\w{6}", marks[: marks.index("];")]) == drawing.MARKS

    def test_letters_that_the_font_lacks_do_not_stop_it(self):
        explorer = rl.explore(rl.RNN(2, 2), input_names=["σ日", "a very long name of an input"])
        assert pixels(explorer.to_png()).shape[1] == 900

    @pytest.mark.parametrize(
        ("value", "limit"), [(0.7, 1), (1.01, 2), (4.9, 5), (50, 50), (0.013, 0.02), (0, 1)]
    )
    def test_limits_are_round(self, value, limit):
        assert picture.nice_limit(value) == pytest.approx(limit)


@pytest.fixture
def shown(monkeypatch):
    """What would be displayed in a notebook: bundle, and display_id and update where given."""
    import IPython.display

    calls = []
    monkeypatch.setattr(
        IPython.display, "display", lambda bundle, **options: calls.append((bundle, options))
    )
    return calls


class TestStill:
    def test_the_live_view_comes_first_and_the_still_is_an_output_of_its_own(self, explorer, shown):
        explorer._ipython_display_()
        (live, _), (picture_, options) = shown
        assert live["text/plain"] == repr(explorer)
        assert live["application/vnd.jupyter.widget-view+json"]["model_id"] == explorer.model_id
        assert picture_["text/plain"] == "step 12 of 12 · branch main"
        assert options["display_id"]
        data = re.search(r'src="data:image/png;base64,([^"]+)"', picture_["text/html"])
        assert pixels(base64.b64decode(data[1])).shape[1] == still.STILL_WIDTH
        assert explorer.model_id not in picture_["text/html"]
        assert options["display_id"] not in picture_["text/html"]

    def test_it_is_drawn_again_once_after_the_session_came_to_rest(
        self, explorer, shown, monkeypatch
    ):
        monkeypatch.setattr(still, "IDLE", 0.02)
        draw, drawn = still.draw, []
        monkeypatch.setattr(still, "draw", lambda *a, **b: drawn.append(a) or draw(*a, **b))

        async def work():
            explorer._ipython_display_()
            for _ in range(5):
                explorer.session.back()
            assert len(shown) == 2
            await asyncio.sleep(0.1)

        asyncio.run(work())
        assert (len(shown), len(drawn)) == (3, 2)
        bundle, options = shown[-1]
        assert bundle["text/plain"] == "step 7 of 12 · branch main"
        assert (options["display_id"], options["update"]) == (shown[1][1]["display_id"], True)
        explorer._still.update()
        assert len(shown) == 3, "nothing changed"

    @pytest.mark.parametrize(("steps", "hidden"), [(5000, 64), (100, 1024)])
    def test_it_is_small_whatever_the_recording(self, shown, steps, hidden):
        """Of pure noise: what a trained network does takes a quarter of it."""
        long_explorer(steps, hidden)._ipython_display_()
        assert len(shown[-1][0]["text/html"]) < 100_000

    def test_it_shows_the_place_also_deep_in_the_past(self, shown):
        explorer = long_explorer(300)
        explorer.session.rewind(100)
        explorer._ipython_display_()
        assert shown[-1][0]["text/plain"] == "step 100 of 300 · branch main"

    def test_text_is_never_markup(self, explorer, shown):
        explorer.session.branch('"><script>alert(1)</script>')
        explorer._ipython_display_()
        text = shown[-1][0]["text/html"]
        assert "<script" not in text
        assert html.escape('"><script>alert(1)</script>', quote=True) in text

    def test_closing_ends_it(self, explorer, shown, monkeypatch):
        monkeypatch.setattr(still, "IDLE", 0.01)

        async def work():
            explorer._ipython_display_()
            explorer.session.back()
            explorer.close()
            explorer.session.back()
            await asyncio.sleep(0.05)

        asyncio.run(work())
        assert len(shown) == 2
