#!/usr/bin/python3
"""look_at_page.py [--pictures] [--light FOLDER]... [--asked-by FIFO] [FOLDER]...: opens the page.html of each folder, a
page of shmifperf report, in one headless Chromium, as a person would: light, dark, on a phone, on paper; those of --light
in the light only. Leaves in each folder facts.json: what is wrong with the page ("wrong", a text each), what its tables
say and what its charts draw. With --pictures also a picture of each view. With --asked-by it reads what to look at from
the lines of FIFO, "light FOLDER" or "thorough FOLDER" each: it says "ready", answers each with "looked at FOLDER", and
ends with the FIFO.
"skipped: reason" and exit code 77 where there is no browser."""

import argparse
import base64
import json
import os
import re
import shutil
import sys

# Notes each text that is drawn on a canvas, with the box it takes, each shape that is drawn point by point, and each
# policy violation.
WATCH = r"""
window.seen = {texts: [], shapes: [], violations: []};
addEventListener('securitypolicyviolation', (e) => seen.violations.push(e.violatedDirective + ' ' + e.blockedURI));
// Their points are read often, and are to be where that is cheap.
const context = HTMLCanvasElement.prototype.getContext;
HTMLCanvasElement.prototype.getContext = function (kind, how) { return context.call(this, kind, {...how, willReadFrequently: true}); };
const draw = CanvasRenderingContext2D.prototype.fillText;
const clear = CanvasRenderingContext2D.prototype.clearRect;
CanvasRenderingContext2D.prototype.clearRect = function (...a) {
  seen.texts = seen.texts.filter((t) => t.canvas !== this.canvas);
  seen.shapes = seen.shapes.filter((t) => t.canvas !== this.canvas);
  return clear.apply(this, a);
};
CanvasRenderingContext2D.prototype.fillText = function (text, x, y, ...rest) {
  const m = this.measureText(text);
  const t = this.getTransform();
  // Corners through the transformation, for axes' names are turned.
  const xs = [x - m.actualBoundingBoxLeft, x + m.actualBoundingBoxRight];
  const ys = [y - m.actualBoundingBoxAscent, y + m.actualBoundingBoxDescent];
  const points = xs.flatMap((px) => ys.map((py) => [t.a * px + t.c * py + t.e, t.b * px + t.d * py + t.f]));
  if (String(text).trim() !== '') {
    seen.texts.push({canvas: this.canvas, text: String(text), width: this.canvas.width, height: this.canvas.height,
      left: Math.min(...points.map((p) => p[0])), right: Math.max(...points.map((p) => p[0])),
      top: Math.min(...points.map((p) => p[1])), bottom: Math.max(...points.map((p) => p[1]))});
  }
  return draw.call(this, text, x, y, ...rest);
};
// Ignores what Chart.js draws along a Path2D. The page draws marks and ramps without one.
const before = (name, note) => {
  const real = CanvasRenderingContext2D.prototype[name];
  CanvasRenderingContext2D.prototype[name] = function (...a) {
    note(this, ...a);
    return real.apply(this, a);
  };
};
const shape = (c, kind, points) => seen.shapes.push({canvas: c.canvas, kind, points, dashed: c.getLineDash().length > 0, opacity: c.globalAlpha,
  colour: (kind === 'stroke' ? c.strokeStyle : c.fillStyle).toUpperCase()});
before('beginPath', (c) => { c.pathOfTest = []; });
for (const name of ['moveTo', 'lineTo']) before(name, (c, x, y) => c.pathOfTest.push([x, y]));
for (const name of ['fill', 'stroke']) before(name, (c, path) => { if (!(path instanceof Path2D)) shape(c, name, c.pathOfTest); });
before('fillRect', (c, x, y, w, h) => shape(c, 'rect', [[x, y], [x + w, y + h]]));
"""

# Boxes of texts that cross each other, in the page and on each canvas, and texts that a canvas cuts off.
OVERLAPS = r"""
const crossing = (a, b) => Math.min(a.right, b.right) - Math.max(a.left, b.left) > 1.5 &&
                           Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top) > 1.5;
const wrong = [];
const boxes = [];
const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
for (let node = walker.nextNode(); node; node = walker.nextNode()) {
  const parent = node.parentElement;
  if (!node.data.trim() || ['SCRIPT', 'STYLE', 'NOSCRIPT'].includes(parent.tagName)) continue;
  if (!parent.checkVisibility() || parent.closest('noscript')) continue;
  // A column that stays in place lies over what scrolls under it.
  if (parent.closest('.scroll') && getComputedStyle(parent.closest('td, th')).position === 'sticky') continue;
  const scroller = parent.closest('.scroll, pre');
  const range = document.createRange();
  range.selectNodeContents(node);
  for (const r of range.getClientRects()) {
    const s = scroller && scroller.getBoundingClientRect();
    if (s && (r.left > s.right || r.right < s.left)) continue;
    boxes.push({text: node.data.trim(), node, left: r.left, right: r.right, top: r.top, bottom: r.bottom});
  }
}
boxes.sort((a, b) => a.top - b.top);
for (let i = 0; i < boxes.length; ++i) {
  for (let k = i + 1; k < boxes.length && boxes[k].top < boxes[i].bottom; ++k) {
    if (boxes[i].node !== boxes[k].node && crossing(boxes[i], boxes[k])) wrong.push('"' + boxes[i].text + '" lies over "' + boxes[k].text + '"');
  }
}
for (const canvas of document.querySelectorAll('.chart canvas')) {
  const texts = seen.texts.filter((t) => t.canvas === canvas);
  if (texts.length < 4) wrong.push('a chart has ' + texts.length + ' labels');
  texts.forEach((a, i) => {
    if (a.left < -1 || a.right > a.width + 1 || a.top < -1 || a.bottom > a.height + 1) wrong.push('the chart cuts off "' + a.text + '"');
    for (const b of texts.slice(i + 1)) if (crossing(a, b)) wrong.push('in a chart "' + a.text + '" lies over "' + b.text + '"');
  });
}
return wrong;
"""

# How many of its points each canvas has in a colour that is not grey, counted until there are enough: axes and grids are
# grey, lines are not.
INK = r"""
const [enough] = arguments;
return [...document.querySelectorAll('.chart')].map((box) => {
  const canvas = box.querySelector('canvas');
  const strip = 32;
  let ink = 0;
  for (let top = 0; top < canvas.height && ink < enough; top += strip) {
    const data = canvas.getContext('2d').getImageData(0, top, canvas.width, strip).data;
    for (let i = 0; i < data.length; i += 4) {
      if (data[i + 3] > 40 && Math.max(data[i], data[i + 1], data[i + 2]) - Math.min(data[i], data[i + 1], data[i + 2]) > 60) ++ink;
    }
  }
  return [box.getAttribute('aria-label'), ink];
});
"""


ENOUGH_INK = 150


class Visit:
    """One page in one browser, and what is wrong with it."""

    def __init__(self, browser, folder, pictures):
        self.browser, self.folder, self.pictures, self.wrong = browser, folder, pictures, []
        self.page = os.path.join(os.path.abspath(folder), "page.html")

    def blame(self, view, complaints):
        self.wrong += [f"{view}: {c}" for c in complaints]

    def command(self, name, **parameters):
        return self.browser.execute_cdp_cmd(name, parameters)

    def save(self, name, data):
        with open(os.path.join(self.folder, name), "wb") as file:
            file.write(base64.b64decode(data))

    def settle(self):
        """A frame later everything is laid out and drawn."""
        self.browser.execute_async_script("requestAnimationFrame(() => requestAnimationFrame(arguments[0]))")

    def open(self, view, width, height, scheme):
        screen = {"width": width, "deviceScaleFactor": 2 if width < 500 else 1, "mobile": False}
        self.command("Emulation.setDeviceMetricsOverride", height=height, **screen)
        self.command("Emulation.setEmulatedMedia", media="screen", features=[{"name": "prefers-color-scheme", "value": scheme}])
        self.browser.get("file://" + self.page)
        self.settle()
        self.look(view)
        if not self.pictures:  # they take longer than all the rest
            return
        size = self.command("Page.getLayoutMetrics")["cssContentSize"]
        self.command("Emulation.setDeviceMetricsOverride", height=min(size["height"], 8000), **screen)
        self.settle()
        self.save(f"{view}.png", self.command("Page.captureScreenshot")["data"])

    def look(self, view):
        run = self.browser.execute_script
        self.blame(view, run(OVERLAPS))
        self.blame(view, [f"the chart of {name} is empty ({ink} points of colour)" for name, ink in run(INK, ENOUGH_INK) if ink < ENOUGH_INK])
        wide = run("return document.documentElement.scrollWidth - document.documentElement.clientWidth")
        self.blame(view, [f"the page is {wide} pixels wider than the window"] if wide > 0 else [])
        self.blame(view, [f"against its own policy: {v}" for v in run("return seen.violations")])
        # That its canvases are read is what this program does, and not the page.
        self.blame(view, [f"console: {e['message']}" for e in self.browser.get_log("browser") if "willReadFrequently" not in e["message"]])
        for entry in self.browser.get_log("performance"):
            event = json.loads(entry["message"])["message"]
            url = event["params"].get("request", {}).get("url", "") if event["method"] == "Network.requestWillBeSent" else ""
            if url and not url.startswith("file://" + self.page):
                self.blame(view, [f"it asked for {url}"])

    def keyboard(self):
        """Every table, button and line of a legend is reached by Tab."""
        reached = self.browser.execute_script(
            "return [...document.querySelectorAll('.scroll, .choice button, .lines button')].filter((e) => e.tabIndex < 0).length")
        self.blame("keyboard", [f"{reached} places are out of reach"] if reached else [])

    def press_all(self):
        """Each choice of each chart draws a chart that is faultless, too."""
        for number in range(self.browser.execute_script("return document.querySelectorAll('.choice button').length")):
            said = self.browser.execute_script("const b = document.querySelectorAll('.choice button')[arguments[0]]; b.click(); return b.textContent", number)
            self.settle()
            self.look(f"after pressing {said}")

    def hover(self):
        """What is under the pointer is told below the chart."""
        said = self.browser.execute_script("""
          const box = document.querySelector('.chart');
          if (!box) return 'nothing to hover';
          const canvas = box.querySelector('canvas');
          const r = canvas.getBoundingClientRect();
          canvas.dispatchEvent(new PointerEvent('pointermove', {clientX: r.left + r.width / 2, clientY: r.top + r.height / 2}));
          return [...box.querySelectorAll('.value')].map((e) => e.textContent).join(' ');
        """)
        self.blame("hover", [] if any(c.isdigit() for c in said) or said == "nothing to hover" else [f"no value is shown ({said!r})"])

    def paper(self):
        """How many sheets it takes."""
        self.command("Emulation.setEmulatedMedia", media="", features=[{"name": "prefers-color-scheme", "value": "dark"}])
        pdf = self.command("Page.printToPDF", printBackground=True, preferCSSPageSize=True)["data"]
        if self.pictures:
            self.save("paper.pdf", pdf)
        self.blame("paper", [f"console: {e['message']}" for e in self.browser.get_log("browser")])
        return len(re.findall(rb"/Type /Page\b", base64.b64decode(pdf)))


def start():
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium")
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars",
                     "--disable-background-networking", "--no-first-run", "--disable-component-update"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    browser = webdriver.Chrome(service=Service(shutil.which("chromedriver")), options=options)
    browser.set_script_timeout(30)
    browser.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": WATCH})
    return browser


# What the page shows. For a chart this is the data that Chart.js got, and the marks that the page itself draws; their
# places are turned back into times.
FACTS = r"""
const texts = (selector, within = document) => [...within.querySelectorAll(selector)].map((e) => e.textContent);
const folderOf = (e) => { const d = e.closest('details'); return d && d.open === false ? d.querySelector('summary').textContent : null; };
const cell = (e) => e.textContent + (e.classList.contains('bad') ? '!' : e.classList.contains('asked') ? '~' : '');
const chart = (u) => {
  const shapes = seen.shapes.filter((s) => s.canvas === u.canvas);
  const {top, height, width} = u.chartArea;
  const {x: times, y: values} = u.scales;
  const {x, datasets} = u.data;
  const time = (pixel) => Math.round(times.getValueForPixel(pixel) * 100) / 100;
  // All places of all lines, and both ends of the axis. What a line has not at a place is null.
  const places = [...new Set([times.min, times.max, ...datasets.flatMap((s) => s.data.map((p) => p.x))])].sort((a, b) => a - b);
  const scale = (of) => [of.min, of.max, of.options.kind];
  const near = (a, b) => Math.abs(a - b) < 1.5;
  return {
    name: boxOf(u).getAttribute('aria-label'),
    section: sectionOf(u),
    x: places,
    series: datasets.map((s, i) => {
      const at = new Map(s.data.map((p) => [p.x, p.y]));
      const known = places.map((place) => at.get(place) ?? null);
      return {label: s.label, shown: u.isDatasetVisible(i), scale: s.yAxisID || 'y', colour: s.borderColor.toUpperCase(), dash: s.borderDash || [], drawn: s.borderWidth > 0,
        values: known, says: known.map((v) => v === null ? '-' : s.says(v))};
    }),
    x_says: places.map(x.says),
    x_label: x.label,
    legend: [...boxOf(u).querySelectorAll('.lines > *')].map((e) => texts('b, .value', e)),
    axes: [times, values].map((a) => ({label: a.options.title.text, at: a.ticks.map((t) => t.value), says: a.ticks.map((t) => t.label)})),
    scales: {x: scale(times), y: scale(values)},
    resolution: (times.max - times.min) / width,
    losses: shapes.filter((s) => s.kind === 'rect' && near(s.points[1][1], top + height) && s.points[0][1] > top + height / 2)
      .map((s) => ({at: time((s.points[0][0] + s.points[1][0]) / 2), colour: s.colour, height: (s.points[1][1] - s.points[0][1]) / height})),
    dashes: shapes.filter((s) => s.kind === 'stroke' && s.dashed && s.points.length === 2 && near(s.points[0][1], top) && near(s.points[1][1], top + height))
      .map((s) => ({at: time(s.points[0][0]), colour: s.colour})),
    ramps: shapes.filter((s) => s.kind === 'rect' && near(s.points[1][1] - s.points[0][1], height) && !s.colour.startsWith('#')).map((s) => [time(s.points[0][0]), time(s.points[1][0])]),
    tints: shapes.filter((s) => s.kind === 'rect' && near(s.points[1][1] - s.points[0][1], height) && s.colour.startsWith('#'))
      .map((s) => ({from: time(s.points[0][0]), to: time(s.points[1][0]), colour: s.colour, opacity: s.opacity})),
  };
};
const plots = () => [...document.querySelectorAll('.chart canvas')].map((canvas) => Chart.getChart(canvas));
const boxOf = (u) => u.canvas.closest('.chart');
// The bars below the throughput chart, in the times of its axis.
const bars = () => {
  const u = plots()[0];
  return [...document.querySelectorAll('.band g[data-cause]')].map((e) => {
    const [bar, left] = [e.querySelector('rect').getBoundingClientRect(), u.canvas.getBoundingClientRect().left];
    const time = (x) => u.scales.x.getValueForPixel(x - left);
    return {says: e.querySelector('title').textContent, from: time(bar.left), to: time(bar.right), top: bar.top};
  });
};
// Drags across the first chart, and then clicks it twice.
const zoomed = () => {
  const [u] = plots();
  const act = (name, time) => u.canvas.dispatchEvent(
    new PointerEvent(name, {clientX: u.canvas.getBoundingClientRect().left + u.scales.x.getPixelForValue(time), button: 0}));
  act('pointerdown', 3);
  act('pointermove', 5);
  act('pointerup', 6);
  const found = bars();
  act('dblclick', 4);
  return found;
};
// The maps of heat: where they begin and end beside the chart above, the colour of each cell at three times, and what is
// said of a place in them.
const heats = () => {
  const [u] = plots();
  if (!u) return [];
  const {left, width} = u.chartArea;
  const placeOf = (time) => u.scales.x.getPixelForValue(time) - left;
  return [...document.querySelectorAll('.heat canvas')].map((e) => {
    const [map, axis] = [e.getBoundingClientRect(), u.canvas.getBoundingClientRect()];
    const cells = [...Array(64).keys()];
    const pixel = (time, cell) => {
      const p = e.getContext('2d').getImageData(placeOf(time) * e.width / map.width, (cell + 0.5) * e.height / 64, 1, 1).data;
      return '#' + [...p].slice(0, 3).map((v) => v.toString(16).padStart(2, '0')).join('');
    };
    e.dispatchEvent(new PointerEvent('pointermove', {clientX: map.left + placeOf(3.5), clientY: map.top + map.height * 59.5 / 64, bubbles: true}));
    return {left: map.left - axis.left - left, wider: map.width - width, at: [0.5, 2.5, 5.5].map((time) => cells.map((cell) => pixel(time, cell))),
      label: e.getAttribute('aria-label'), says: document.querySelector('.readout').textContent};
  });
};
const sectionOf = (u) => u.canvas.closest('section').querySelector('h2').textContent;
// The charts of a section, or all.
const charts = (section) => plots().filter((u) => !section || sectionOf(u) === section).map(chart);
const settled = () => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
const [thorough, done] = arguments;
(async () => {
  const facts = {
    title: document.title, verdict: texts('.badge'), head: texts('#head p'), figures: [...document.querySelectorAll('.figures > div')].map((e) => e.className + ': ' + [...e.children].map((part) => part.textContent).join(' ')), command: texts('.command'), cells: texts('td'), notes: texts('.note'),
    buttons: texts('.choice button'), headings: texts('h2'),
    problems: [...document.querySelectorAll('.problems li:not(.more)')].map((e) => ({kind: e.className, title: e.querySelector('b').textContent, text: e.lastChild.textContent, folded: folderOf(e)})),
    list: [...document.querySelectorAll('dt')].map((e) => [e.textContent, e.nextElementSibling.textContent]),
    rows_above: [...document.querySelectorAll('tbody tr')].filter((e) => e.checkVisibility() &&
      (document.querySelector('.chart')?.compareDocumentPosition(e) & Node.DOCUMENT_POSITION_PRECEDING)).length,
    tables: [...document.querySelectorAll('table.data')].map((t) => ({name: t.parentElement.getAttribute('aria-label'), folded: folderOf(t),
      section: t.closest('section').querySelector('h2').textContent,
      head: texts('thead th', t), rows: [...t.tBodies[0].rows].map((r) => [...r.cells].map(cell))})),
    charts: charts(), pressed: {}, rows: texts('.band svg > text > title'), bars: bars(), heats: heats(), sentences: texts('.causes li'),
    tints: [...document.querySelectorAll('.tints span')].map((e) => ({name: e.textContent, says: e.title, colour: getComputedStyle(e.querySelector('i')).backgroundColor})),
  };
  if (facts.bars.length) facts.bars_from_3_to_6 = zoomed();
  // In a row of buttons one is pressed. Presses each of the others once, and then the first one again. A thorough look
  // presses all buttons elsewhere.
  for (const button of thorough ? [] : [...document.querySelectorAll('.choice button')]) {
    if (button.getAttribute('aria-pressed') === 'true') continue;
    const first = [...button.parentElement.children].find((b) => b.getAttribute('aria-pressed') === 'true');
    const name = button.closest('section').querySelector('h2').textContent;
    button.click();
    await settled();
    const drawn = charts(name)[0];
    facts.pressed[name + ': ' + button.textContent] = drawn && {...drawn, note: texts('.note', button.closest('section'))[0]};
    first.click();
  }
  done(facts);
})();
"""


def look_at(browser, folder, pictures, thorough):
    visit = Visit(browser, folder, pictures)
    if thorough:
        visit.open("dark", 1200, 900, "dark")
        visit.open("phone", 360, 740, "light")
    visit.open("light", 1200, 900, "light")
    facts = browser.execute_async_script(FACTS, thorough)
    if thorough:
        visit.keyboard()
        visit.hover()
        visit.press_all()
        facts["sheets"] = visit.paper()
    facts["wrong"] = list(dict.fromkeys(visit.wrong))
    with open(os.path.join(folder, "facts.json"), "w", encoding="utf-8") as file:
        json.dump(facts, file)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--pictures", action="store_true")
    parser.add_argument("--light", action="append", default=[], metavar="FOLDER")
    parser.add_argument("--asked-by", metavar="FIFO")
    parser.add_argument("folders", nargs="*", metavar="FOLDER")
    options = parser.parse_intermixed_args()
    for program in ("chromium", "chromedriver"):
        if not shutil.which(program):
            print(f"skipped: {program} is not installed")
            return 77
    try:
        import selenium  # noqa: F401
    except ImportError:
        print("skipped: python3-selenium is not installed")
        return 77
    browser = start()
    try:
        for folder in options.folders + options.light:
            look_at(browser, folder, options.pictures, folder in options.folders)
        if options.asked_by:
            print("ready", flush=True)
            with open(options.asked_by, encoding="utf-8") as fifo:
                for line in fifo:
                    how, folder = line.rstrip("\n").split(" ", 1)
                    look_at(browser, folder, options.pictures, how == "thorough")
                    print("looked at " + folder, flush=True)
    finally:
        browser.quit()
    return 0


if __name__ == "__main__":
    sys.exit(main())
