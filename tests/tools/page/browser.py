"""A headless Chromium, and what tests of pages ask it. "skipped: reason" and exit code 77 where there is none."""

import base64
import os
import shutil
import sys
import time

PATIENCE = 60  # seconds, for anything that must come

WATCH = r"""
window.seen = [];
addEventListener('securitypolicyviolation', (e) => seen.push('policy: ' + e.violatedDirective + ' ' + e.blockedURI));
addEventListener('error', (e) => seen.push('error: ' + e.message));
addEventListener('unhandledrejection', (e) => seen.push('error: ' + e.reason));
"""

# What a designer would not let pass: what reaches out of the window or its box, what overlaps, what is too small to hit.
LAYOUT = r"""
const wrong = [];
const page = document.documentElement;
if (page.scrollWidth > innerWidth + 1) wrong.push('the page is ' + page.scrollWidth + ' wide in a window of ' + innerWidth);
for (const group of document.querySelectorAll('#picture g.host, #picture g.device')) {
  const box = group.querySelector('.box').getBoundingClientRect();
  for (const text of group.querySelectorAll('text')) {
    const r = text.getBoundingClientRect();
    if (r.width && (r.left < box.left || r.right > box.right || r.top < box.top || r.bottom > box.bottom)) wrong.push('"' + text.textContent + '" leaves its box');
  }
}
const table = document.querySelector('.ports .scroll');
if (table.scrollWidth > table.clientWidth + 1) wrong.push(`the table of ports is ${table.scrollWidth} wide in ${table.clientWidth}`);
const meet = (a, b) => Math.min(a.right, b.right) > Math.max(a.left, b.left) + 1 && Math.min(a.bottom, b.bottom) > Math.max(a.top, b.top) + 1;
const boxes = [...document.querySelectorAll('#picture .box')].map((e) => e.getBoundingClientRect());
boxes.forEach((a, i) => boxes.slice(i + 1).forEach((b) => { if (meet(a, b)) wrong.push('two boxes overlap'); }));
const texts = [...document.querySelectorAll('#picture g.bus text')].filter((e) => e.textContent).map((e) => [e.textContent, e.getBoundingClientRect()]);
texts.forEach(([name, a], i) => {
  texts.slice(i + 1).forEach(([other, b]) => { if (meet(a, b)) wrong.push(`"${name}" and "${other}" overlap`); });
  boxes.forEach((b) => { if (meet(a, b)) wrong.push(`"${name}" and a box overlap`); });
});
for (const e of document.querySelectorAll('button, input, select, #picture g[role=button] .box')) {
  const r = e.getBoundingClientRect();
  if (r.width && (r.width < 24 || r.height < 24)) wrong.push(`too small to hit, ${r.width} x ${r.height}: ` + e.outerHTML);
}
for (const e of document.querySelectorAll('button, input, select')) {
  if (e.checkVisibility() && !(e.labels && e.labels.length) && !e.textContent.trim() && !e.getAttribute('aria-label')) wrong.push('no name: ' + e.outerHTML);
}
const levels = [...document.querySelectorAll('h1, h2, h3')].map((e) => Number(e.tagName[1]));
levels.forEach((level, i) => { if (level > (levels[i - 1] || 0) + 1) wrong.push('a heading of level ' + level + ' follows one of level ' + levels[i - 1]); });
return [...new Set(wrong)];
"""

# WCAG 2, 1.4.3 and 1.4.11: the contrast of each text that is shown, and of the parts of the picture.
CONTRAST = r"""
const wrong = new Set();
const parse = (text) => { const m = (text.match(/[\d.]+/g) || []).map(Number); return { rgb: m.slice(0, 3), alpha: m.length > 3 ? m[3] : m.length ? 1 : 0 }; };
const light = (rgb) => { const [r, g, b] = rgb.map((v) => { const c = v / 255; return c <= .03928 ? c / 12.92 : ((c + .055) / 1.055) ** 2.4; }); return .2126 * r + .7152 * g + .0722 * b; };
const ratio = (a, b) => { const [x, y] = [light(a), light(b)].sort((p, q) => q - p); return (x + .05) / (y + .05); };
const behind = (e) => {
  for (let at = e; at; at = at.parentElement) {
    const box = at.matches('#picture g.host, #picture g.device') && at.querySelector('.box');
    const colour = parse(box ? getComputedStyle(box).fill : getComputedStyle(at).backgroundColor);
    if (colour.alpha > .99) return colour.rgb;
  }
  return [255, 255, 255];
};
const faded = (e) => { for (let at = e; at; at = at.parentElement) if (Number(getComputedStyle(at).opacity) < 1) return true; return false; };
const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
let texts = 0;
while (walk.nextNode()) {
  const e = walk.currentNode.parentElement;
  if (!walk.currentNode.textContent.trim() || !e.checkVisibility() || e.closest('script, style, title, noscript') || e.disabled) continue;
  ++texts;
  const style = getComputedStyle(e);
  const ink = parse(e.closest('svg') ? style.fill : style.color).rgb;
  const is = ratio(ink, behind(e));
  if (is < 4.5 || faded(e)) wrong.add(`contrast ${is.toFixed(1)} of "${walk.currentNode.textContent.slice(0, 40)}"` + (faded(e) ? ', faded' : ''));
}
const card = behind(document.getElementById('picture'));
for (const e of document.querySelectorAll('#picture .cable, #picture .drop, #picture .plug, #picture .host .box, #picture .device .box')) {
  const is = ratio(parse(getComputedStyle(e).stroke).rgb, card);
  if (is < 3) wrong.add(`contrast ${is.toFixed(1)} of ${e.getAttribute('class')}`);
}
if (texts < 20) wrong.add(`only ${texts} texts were looked at`);
return [...wrong];
"""


class Visit:
    """One page, looked at. Things that are wrong become lines that begin with its name."""

    def __init__(self, browser, name, url, pictures=None):
        self.browser, self.name, self.url, self.pictures, self.wrong = browser, name, url, pictures, []

    def blame(self, *texts):
        for text in texts:
            self.wrong.append(f"{self.name}: {text}")
            print(self.wrong[-1], flush=True)

    def run(self, script, *arguments):
        return self.browser.execute_script(script, *arguments)

    def command(self, name, **parameters):
        return self.browser.execute_cdp_cmd(name, parameters)

    def until(self, what, holds):
        """Waits until holds() is true; blames `what` if it never is."""
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            if holds():
                return True
            time.sleep(0.05)
        self.blame("never: " + what)
        return False

    def equal(self, what, seen, wanted):
        """The same, for a value that must come; tells both if it never does."""
        last = []
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            last = [seen(), wanted() if callable(wanted) else wanted]
            if last[0] == last[1]:
                return True
            time.sleep(0.05)
        self.blame(f"{what} is {last[0]!r}, not {last[1]!r}")
        return False

    def text(self, selector):
        """The text of the first element; None if there is none."""
        return self.run("const e = document.querySelector(arguments[0]); return e && e.textContent", selector)

    def count(self, selector):
        return self.run("return document.querySelectorAll(arguments[0]).length", selector)

    def size(self, width, height, scheme):
        self.command("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        self.command("Emulation.setEmulatedMedia", media="screen", features=[{"name": "prefers-color-scheme", "value": scheme}])

    def picture(self, name):
        if not self.pictures:
            return
        width = self.run("return innerWidth")
        height = self.command("Page.getLayoutMetrics")["cssContentSize"]["height"]
        data = self.command("Page.captureScreenshot", captureBeyondViewport=True, clip={"x": 0, "y": 0, "width": width, "height": height, "scale": 1})["data"]
        with open(os.path.join(self.pictures, f"{self.name}-{name}.png"), "wb") as file:
            file.write(base64.b64decode(data))

    def click(self, selector):
        from selenium.webdriver.common.by import By
        self.browser.find_element(By.CSS_SELECTOR, selector).click()

    def type(self, selector, text):
        from selenium.webdriver.common.by import By
        self.browser.find_element(By.CSS_SELECTOR, selector).send_keys(text)

    def retype(self, selector, text):
        """Types in place of what is there."""
        from selenium.webdriver.common.keys import Keys
        self.type(selector, Keys.CONTROL + "a")
        self.type(selector, text)

    def press(self, key):
        from selenium.webdriver.common.action_chains import ActionChains
        ActionChains(self.browser).send_keys(key).perform()

    def log(self):
        """What the console says of errors, since the last call."""
        return [entry["message"] for entry in self.browser.get_log("browser") if entry["level"] == "SEVERE"]

    def views(self):
        """Looks at the page as it is: light and dark, from desk to phone."""
        for name, width, height, scheme in (("desk-light", 1440, 900, "light"), ("desk-dark", 1440, 900, "dark"), ("small-desk", 1200, 900, "light"), ("tablet", 800, 900, "dark"), ("phone-light", 390, 844, "light"), ("phone-dark", 390, 844, "dark")):
            self.size(width, height, scheme)
            self.run("scrollTo(0, 0)")
            self.browser.execute_async_script("requestAnimationFrame(() => requestAnimationFrame(() => setTimeout(arguments[0], 50)))")
            self.blame(*[f"{name}: {text}" for text in self.run(LAYOUT) + self.run(CONTRAST)])
            self.picture(name)
        self.size(1440, 900, "light")


def start():
    for program in ("chromium", "chromedriver"):
        if not shutil.which(program):
            skip(program)
    try:
        from selenium import webdriver
        from selenium.webdriver.chrome.service import Service
    except ImportError:
        skip("python3-selenium")
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium")
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars", "--force-prefers-reduced-motion",
                     "--disable-background-networking", "--no-first-run", "--disable-component-update", "--disable-extensions", "--disable-sync",
                     "--host-resolver-rules=MAP evil.example 127.0.0.1"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    browser = webdriver.Chrome(service=Service(shutil.which("chromedriver")), options=options)
    browser.set_script_timeout(30)
    browser.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": WATCH})
    return browser


def skip(missing):
    print(f"skipped: {missing} is not installed")
    sys.exit(77)
