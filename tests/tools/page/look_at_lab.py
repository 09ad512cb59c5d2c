#!/usr/bin/python3
"""look_at_lab.py [--pictures FOLDER] [--keep-time S] SHMIFCTL VISIT=URL=WHAT=HOST...

Uses pages of shmifctl serve as a person would, in one headless Chromium: looks, clicks, types, and compares what it sees
with what shmifctl says. HOST is one that is up. WHAT is a bus, or the file of a lab. VISIT is one of:

  read    a page of a bus that may change nothing
  write   one that may: takes the link of HOST down, sets faults, divides the bus, records, watches frames
  lab     the page of a lab, which may change it; see lab() below
  views   only looks, in several sizes
  foreign what pages of others can do with this one: nothing

Prints a line for each thing that is wrong, and "done". "skipped: reason" and exit code 77 where there is no browser."""

import argparse
import http.server
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading

sys.dont_write_bytecode = True
from browser import Visit, start  # noqa: E402

# The table of ports: exact figures of each port, as numbers, by bus and name.
ROWS = r"""
return Object.fromEntries([...document.querySelectorAll('#ports tbody tr')].map((row) => {
  const texts = [...row.cells].map((cell) => cell.textContent);
  const number = (text) => (text === '-' ? null : Number(text.replaceAll(',', '')));
  return [texts[1] + ' ' + row.cells[0].querySelector('button').textContent, {addresses: texts[2], link: texts[3], faults: texts[4],
    lost_frames: number(texts[5]), dropped: texts[6], sent_now: texts[7], tx_frames: number(texts[9]), rx_frames: number(texts[10])}];
}));
"""

# The boxes of the picture: what they say, and the kinds of their plugs.
BOXES = r"""
return Object.fromEntries([...document.querySelectorAll('#picture g.host, #picture g.device')].map((e) => [e.querySelector('title').textContent, {
  says: e.getAttribute('aria-label'), middle: (e.querySelectorAll('text')[1] || {}).textContent,
  faults: (e.querySelectorAll('text')[2] || {}).textContent,
  plugs: [...e.querySelectorAll('.plug')].map((plug) => plug.getAttribute('class').split(' ')[1])}]));
"""


class PageVisit(Visit):
    def __init__(self, browser, shmifctl, visit, pictures):
        self.kind, url, self.what, self.host = visit.split("=", 1)[0], *visit.split("=", 1)[1].rsplit("=", 2)
        self.shmifctl = shmifctl
        super().__init__(browser, self.kind, url, pictures)

    def tool(self, *words):
        done = subprocess.run([self.shmifctl, *words], capture_output=True)
        if done.returncode != 0:
            raise RuntimeError(f"{' '.join(words)}: {done.stderr.decode(errors='replace')}")
        return done.stdout.decode()

    def stat(self, bus=None):
        return json.loads(self.tool("stat", bus or self.what, "--json"))

    def port(self, bus=None):
        return next(port for port in self.stat(bus)["ports"] if port["name"] == self.host)

    def changes(self, bus=None):
        """The journal, as [port, change]."""
        return [[each["port"], each["change"]] for each in json.loads(self.tool("changes", bus or self.what, "--json"))["changes"]]

    def row(self, name=None):
        bus = os.path.basename(self.what)
        return self.run(ROWS).get(name or f"{bus} {self.host}", {})

    def open(self):
        self.browser.get(self.url)
        self.until("the table of ports", lambda: self.count("#ports tbody tr"))

    def choose(self, name):
        """Clicks a box of the picture."""
        box = self.run("return [...document.querySelectorAll('#picture g.host, #picture g.device')].find((e) => e.querySelector('title').textContent === arguments[0])", name)
        if box is None:
            return self.blame("the picture has no " + name)
        box.click()
        return self.equal("the panel", lambda: self.text("#panel-title").split(" ", 1)[-1], name)

    def fact(self, name):
        """What the panel says of that name."""
        return self.run("const e = [...document.querySelectorAll('#panel dt')].find((e) => e.textContent === arguments[0]); return e && e.nextSibling.textContent", name)

    def refusals(self):
        return self.run("return [...document.querySelectorAll('#panel .message.bad')].map((e) => e.textContent).join(' ')")

    def choose_bus(self):
        self.run("document.querySelector('#picture g.bus').dispatchEvent(new MouseEvent('click', {bubbles: true}))")
        self.until("the panel of the bus", lambda: self.count("#panel .last"))

    # ---- What a user does ----

    def figures(self):
        """The table says what stat says. The rates move on; the bus of the test is quiet."""
        keys = ("tx_frames", "rx_frames", "lost_frames")
        bus = os.path.basename(self.what)
        self.equal("the table", lambda: {name: [row[key] for key in keys] for name, row in self.run(ROWS).items()},
                   lambda: {f"{bus} {port['name']}": [port[key] for key in keys] for port in self.stat()["ports"]})

    def link(self):
        self.choose(self.host)
        before = self.changes()
        turn = "#panel .turn"
        self.equal("the button", lambda: self.text(turn), "Take link down")
        self.click(turn)
        self.equal("carrier in stat", lambda: self.port()["carrier"], False)
        self.equal("the link in the table", lambda: self.row().get("link"), "link down")
        self.equal("the plugs", lambda: self.run(BOXES)[self.host]["plugs"], ["off"])
        self.equal("how many plugs are off", lambda: self.count("#picture .plug.off"), 1)
        self.picture("down")
        self.equal("the button", lambda: self.text(turn), "Bring link up")
        self.equal("the list of changes", lambda: "link down" in self.text("#changes li"), True)
        self.click(turn)
        self.equal("carrier in stat", lambda: self.port()["carrier"], True)
        self.equal("the link in the table", lambda: self.row().get("link"), "up")
        self.equal("the journal", self.changes, before + [[self.host, "link down"], [self.host, "link up"]])

    def faults(self):
        from selenium.webdriver.common.keys import Keys
        self.choose(self.host)
        before = self.changes()
        address = self.run(BOXES)[self.host]["middle"]
        self.type("#panel input", "loss=100%" + Keys.ENTER)
        self.equal("the line in stat", lambda: self.port()["line"], "fault loss=100%")
        self.equal("the table", lambda: self.row().get("faults"), "loss=100%")
        self.equal("the plugs", lambda: self.run(BOXES)[self.host]["plugs"], ["faulty"])
        self.equal("the box", lambda: [self.run(BOXES)[self.host][each] for each in ("middle", "faults")], [address, "loss=100%"])
        self.until("how it ended", lambda: self.count("#panel .message.good"))
        subprocess.run([self.shmifctl, "enter", self.what, self.host, "--", "ping", "-q", "-c", "3", "-i", "0.2", "-W", "0.2", "198.18.0.2"], stdout=subprocess.DEVNULL)
        self.until("frames that the line dropped", lambda: self.port()["line_tx_dropped_frames"] > 0)
        self.equal("what the line dropped", lambda: self.row().get("dropped"),
                   lambda: "{line_rx_dropped_frames:,} in\n{line_tx_dropped_frames:,} out".format(**self.port()))
        self.equal("what the line dropped, in the panel", lambda: self.fact("Line dropped"),
                   lambda: "{line_rx_dropped_frames:,} frames to the host, {line_tx_dropped_frames:,} from it".format(**self.port()))
        self.picture("fault")
        self.retype("#panel input", "nonsense=1" + Keys.ENTER)
        self.until("why it is refused", lambda: "nonsense" in self.refusals())
        self.equal("the line after a refusal", lambda: self.port()["line"], "fault loss=100%")
        self.click("#panel .clear")
        self.equal("the faults in the table", lambda: self.row().get("faults"), "none")
        self.equal("the line in stat", lambda: self.port()["line"], "")
        self.equal("the journal", self.changes, before + [[self.host, "fault loss=100%"], [self.host, "fault none"]])

    def partition(self):
        from selenium.webdriver.common.keys import Keys
        self.choose_bus()
        before = self.changes()
        self.type("#panel input[placeholder='a,b / c,d']", "nobody-here" + Keys.ENTER)
        self.until("why it is refused", lambda: "groups" in self.refusals())
        self.retype("#panel input[placeholder='a,b / c,d']", f"{self.host} / user")
        self.click("#panel .divide")
        self.equal("the plugs", lambda: [self.run(BOXES)[name]["plugs"] for name in (self.host, "user")], [["faulty"], ["faulty"]])
        self.equal("who is apart in stat", lambda: sorted(port["name"] for port in self.stat()["ports"] if "partition" in (port["line"] or "")), sorted([self.host, "user"]))
        self.click("#panel .heal")
        self.equal("the plugs", lambda: [self.run(BOXES)[name]["plugs"] for name in (self.host, "user")], [["up"], ["up"]])
        self.equal("the journal", self.changes, before + [[None, f"partition {self.host} / user"], [None, "heal"]])

    def keyboard(self):
        """From the head of the page to the second thing in the picture, by keys alone."""
        from selenium.webdriver.common.keys import Keys
        self.run("document.activeElement.blur(); scrollTo(0, 0)")
        inside = "return document.activeElement.closest('#picture g[role=button]') !== null"
        for _ in range(5):
            self.press(Keys.TAB)
            if self.run(inside):
                break
        else:
            return self.blame("no way into the picture with Tab")
        self.press(Keys.HOME)
        first = self.run("return document.activeElement.dataset.id")
        self.press(Keys.ARROW_RIGHT)
        second = self.run("return document.activeElement.dataset.id")
        self.press(Keys.ENTER)
        if second == first or self.run("return document.activeElement.getAttribute('aria-pressed')") != "true":
            self.blame("Enter does not choose what the arrow keys found")
        said = "return document.activeElement.getAttribute('aria-label')"
        self.equal("the panel of what was chosen", lambda: self.text("#panel-title").lower(), lambda: self.run(said).split(",")[0].split(" on ")[0].lower())
        return None

    def capture(self):
        """Downloads what is in the ring, a part of it, and what comes; other programs read these files."""
        folder = tempfile.mkdtemp(prefix="shmif-page-")
        files = lambda: sorted(name for name in os.listdir(folder) if name.endswith(".pcapng"))  # noqa: E731
        try:
            self.command("Browser.setDownloadBehavior", behavior="allow", downloadPath=folder)
            self.choose_bus()
            total = self.stat()["frames"]

            def download(selector):
                for name in files():
                    os.remove(os.path.join(folder, name))
                self.click(selector)
                if not self.until("a capture", files):
                    return []
                self.until("what it has", lambda: self.count("#panel .message.good"))
                file = os.path.join(folder, files()[0])
                info = subprocess.run(["capinfos", "-M", "-t", "-c", file], capture_output=True, text=True)
                if info.returncode != 0 or "pcapng" not in info.stdout:
                    self.blame(f"capinfos of a download: {info.stdout}{info.stderr}")
                read = subprocess.run(["tshark", "-n", "-r", file, "-T", "fields", "-e", "frame.len", "-e", "eth.type"], capture_output=True, text=True)
                if read.returncode != 0:
                    self.blame("tshark cannot read a download: " + read.stderr)
                frames = read.stdout.splitlines()
                if not any(f"{len(frames)} frames" in text for text in self.run("return [...document.querySelectorAll('#panel .message')].map((e) => e.textContent)")):
                    self.blame(f"the page does not say that it downloaded {len(frames)} frames")
                return frames
            all_frames = download("#panel .last")
            if not total <= len(all_frames) <= self.stat()["frames"]:
                self.blame(f"a download has {len(all_frames)} frames of {total}")
            self.type("#panel input[placeholder='arp or icmp']", "arp")
            arp = [frame for frame in all_frames if frame.endswith("0x0806")]
            if not arp or download("#panel .last") != arp:
                self.blame("a filtered download is not the part that fits")
            self.retype("#panel input[placeholder='arp or icmp']", "nonsense here")
            self.click("#panel .last")
            self.until("why a filter is refused", lambda: "nonsense" in self.refusals())
            self.retype("#panel input[placeholder='arp or icmp']", "icmp")
            self.retype("#panel input[type=number]", "2")
            ping = subprocess.Popen([self.shmifctl, "enter", self.what, self.host, "--", "ping", "-q", "-i", "0.2", "-c", "15", "198.18.0.2"], stdout=subprocess.DEVNULL)
            recorded = download("#panel .record")
            ping.wait()
            if not recorded or any(not frame.endswith("0x0800") for frame in recorded):
                self.blame(f"what was recorded is {recorded}")
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def frames(self):
        """The last frames, as dump prints them, and one that passes meanwhile."""
        lines = lambda: self.text("#frames").split("\n")  # noqa: E731
        self.click("#frames-run")
        # Other frames may pass meanwhile, so what dump says must be a part of it.
        dumped = [line.split(" ", 1)[1] for line in self.tool("dump", self.what, "--history", "--sender", "--timeout", "0.2").splitlines() if " " in line][-20:]
        self.until("the frames that dump prints: " + str(dumped), lambda: all(any(line.endswith(each) for line in lines()) for each in dumped))
        before = len(lines())
        self.tool("enter", self.what, self.host, "--", "ping", "-q", "-c", "1", "-s", "77", "198.18.0.2")
        self.until("a ping, decoded", lambda: sum("ICMP" in line and "echo re" in line for line in lines()[before:]) >= 2)
        self.type("#frames-filter", "no frame has this")
        self.equal("the lines that fit", lambda: self.text("#frames"), "")
        self.click("#frames-run")

    def lab(self):
        """A lab of left (user, brief), right (web), and a router on both. `brief` has ended. WHAT is its file."""
        run = self.tool
        state = lambda: next(lab for lab in json.loads(run("ls", "--json"))["labs"] if lab["file"] == self.what)  # noqa: E731
        buses = {bus["name"]: bus["path"] for bus in state()["buses"]}
        self.equal("the boxes", lambda: sorted(self.run(BOXES)), sorted(host["name"] for host in state()["hosts"]))
        self.choose("user")
        self.type("#panel input", "loss=30%,seed=7\n")
        self.equal("the plugs", lambda: {name: box["plugs"] for name, box in self.run(BOXES).items()},
                   {"router": ["up", "up"], "web": ["up"], "user": ["faulty"], "brief": ["off"]})
        self.equal("what brief's box says", lambda: self.run(BOXES)["brief"]["middle"], "not up")
        self.equal("the lab's badge", lambda: self.text("#lab"), "lab up, 3 of 4 hosts")
        self.equal("who is missing", lambda: self.text("#missing"), "Not up: brief")
        self.equal("brief in the table", lambda: self.row("left brief"), {"addresses": "-", "link": "not up", "faults": "-", "dropped": "-", "sent_now": "-", "tx_frames": None, "rx_frames": None, "lost_frames": None})
        self.equal("the faults of user", lambda: "fault " + self.row("left user").get("faults"), lambda: self.port(buses["left"])["line"])
        # user pings web all the time.
        self.until("a rate", lambda: self.row("left user").get("sent_now", "-")[0] in "123456789")
        self.equal("the losses of user", lambda: self.row("left user")["lost_frames"], lambda: self.port(buses["left"])["lost_frames"])
        self.choose("brief")
        self.equal("the buttons of a host that is not up", lambda: self.run("return [...document.querySelectorAll('#panel .turn')].filter((e) => e.checkVisibility()).length"), 0)
        self.choose("router")
        self.equal("the parts of the router's panel", lambda: self.run("return [...document.querySelectorAll('#panel h3')].map((e) => e.textContent)"), ["router on left, interface left", "router on right, interface right"])
        self.run("[...document.querySelectorAll('#panel .turn')][1].click()")
        carrier = lambda: [next(port["carrier"] for port in self.stat(buses[bus])["ports"] if port["name"] == "router") for bus in ("left", "right")]  # noqa: E731
        self.equal("the carriers of the router", carrier, [True, False])
        self.equal("the plugs of the router", lambda: self.run(BOXES)["router"]["plugs"], ["up", "off"])
        self.equal("the links of the router", lambda: [self.row("left router").get("link"), self.row("right router").get("link")], ["up", "link down"])
        self.equal("the journals", lambda: [self.changes(buses["left"]), self.changes(buses["right"])], [[["user", "fault loss=30%,seed=7"]], [["router", "link down"]]])
        self.picture("down")
        self.run("[...document.querySelectorAll('#panel .turn')][1].click()")
        self.equal("the carriers of the router", carrier, [True, True])
        place = "return [...document.querySelectorAll('#picture g.host')].map((e) => [e.dataset.id, e.querySelector('.box').getAttribute('x'), e.querySelector('.box').getAttribute('y')])"
        places = self.run(place)
        self.views()
        run("down", self.what)
        self.equal("the lab's badge", lambda: self.text("#lab"), "lab down")
        self.equal("the plugs", lambda: sorted({plug for box in self.run(BOXES).values() for plug in box["plugs"]}), ["off"])
        self.picture("gone")
        run("up", self.what, "--detach", "--artifacts", f"{os.path.dirname(self.what)}/again")
        self.equal("the lab's badge", lambda: self.text("#lab"), "lab up, 3 of 4 hosts")
        self.equal("the places of the boxes", lambda: self.run(place), places)
        # What was not there for a moment was asked for in vain.
        self.log()

    def foreign(self):
        """A page of another origin, which even knows the token; and one whose name was made to lead here."""
        asked = []

        class Foreign(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                asked.append([self.path, dict(self.headers)])
                self.send_response(200)
                self.send_header("Content-Type", "text/html")
                self.end_headers()
                self.wfile.write(b"<!DOCTYPE html><title>foreign</title>")

            def log_message(self, *_):
                pass

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Foreign)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            before = self.changes()
            self.run("location.href = arguments[0]", f"http://localhost:{server.server_port}/leaves")
            self.until("the foreign page", lambda: self.browser.title == "foreign")
            sent = next(headers for path, headers in asked if path == "/leaves")
            if "Referer" in sent or self.run("return document.referrer") != "":
                self.blame(f"a page that was linked to is told {sent}")
            reach = """
              const [url, token, port, done] = arguments;
              const said = [];
              const tried = async (what, work) => { try { const a = await work(); said.push([what, a.type, a.type === 'opaque' ? '' : (await a.text()).slice(0, 40)]); } catch (e) { said.push([what, 'failed', '']); } };
              const body = JSON.stringify({ bus: 'bus', port, change: 'link down' });
              (async () => {
                await tried('read', () => fetch(url + '/api/state?token=' + token));
                await tried('change', () => fetch(url + '/api/change?token=' + token, { method: 'POST', headers: { 'Content-Type': 'application/json' }, body }));
                await tried('change', () => fetch(url + '/api/change?token=' + token, { method: 'POST', mode: 'no-cors', body }));
                const frame = document.createElement('iframe');
                const loaded = new Promise((over) => { frame.onload = over; setTimeout(over, 2000); });
                frame.src = url + '/?token=' + token;
                document.body.append(frame);
                await loaded;
                let inside = 'closed';
                try { inside = frame.contentDocument ? frame.contentDocument.title : 'closed'; } catch (e) { inside = 'closed'; }
                said.push(['frame', inside, '']);
                done(said);
              })();
            """
            url, token = self.url.split("/?token=")
            said = self.browser.execute_async_script(reach, url, token, self.host)
            if said != [["read", "failed", ""], ["change", "failed", ""], ["change", "failed", ""], ["frame", "closed", ""]]:
                self.blame(f"a foreign page gets {said}")
            self.browser.get(f"http://evil.example:{url.rsplit(':', 1)[1]}/?token={token}")
            self.until("why a foreign name is refused", lambda: "not served under this name" in self.run("return document.body.textContent"))
            self.browser.get(url + "/")
            self.until("why a page without the token is refused", lambda: "token is missing" in self.run("return document.body.textContent"))
            if self.changes() != before:
                self.blame("a foreign page has changed the bus")
        finally:
            server.shutdown()
            server.server_close()
        self.log()

    def clean(self):
        """Nothing was refused, failed, or asked of others; no text became an element."""
        self.blame(*self.run("return seen"))
        own = self.url.split("/?")[0]
        self.blame(*["a request of " + name for name in self.run("return performance.getEntriesByType('resource').map((e) => e.name)") if not name.startswith((own + "/api/", "data:", "blob:" + own))])
        if self.count("img, iframe, script") != 1:
            self.blame("a text became an element")
        # 4xx answers that the test provoked are told here, too.
        self.blame(*["console: " + text for text in self.log() if "/api/change" not in text and "/api/capture" not in text])

    def visit(self):
        self.size(1440, 900, "light")
        self.open()
        if self.kind == "foreign":
            return self.foreign()
        if self.kind == "lab":
            self.lab()
        elif self.kind == "views":
            self.choose(self.host)
            self.views()
        else:
            self.figures()
            self.keyboard()
            if self.kind == "write":
                self.capture()
                self.frames()
                self.link()
                self.faults()
                self.partition()
            elif self.choose(self.host) and self.count("#panel .turn, #panel input"):
                self.blame("a page that changes nothing has a switch for links")
            self.views()
        return self.clean()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--pictures", metavar="FOLDER")
    parser.add_argument("shmifctl")
    parser.add_argument("visits", nargs="+")
    options = parser.parse_args()
    browser = start()
    try:
        for each in options.visits:
            visit = PageVisit(browser, options.shmifctl, each, options.pictures)
            try:
                visit.visit()
            except Exception as error:  # the other visits are worth their while, too
                visit.blame(f"{type(error).__name__}: {error}")
    finally:
        browser.quit()
    print("done")
    return 0


if __name__ == "__main__":
    sys.exit(main())
