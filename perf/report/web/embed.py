#!/usr/bin/python3
"""embed.py CHART.JS OUTPUT.cpp: makes the page of reports as C++, in one piece, with the hashes for its own policy."""
import base64
import hashlib
import pathlib
import re
import sys

library, output = map(pathlib.Path, sys.argv[1:])
own = {part.name: part.read_text() for part in pathlib.Path(__file__).parent.glob("*.*s")}
# page.js runs at once, so it is the last.
names = ["units", "charts", "causes", "heat", "tables", "measured", "overlay", "page"]
parts = {
    "STYLE": own["page.css"],
    "SCRIPT": library.read_text() + "(() => {\n'use strict';\n" + "\n".join(own[f"{name}.js"] for name in names) + "})();\n",
}
parts |= {f"{name}_HASH": "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for name, text in parts.items()}
page = re.sub("@([A-Z_]+)@", lambda mark: parts.get(mark[1], mark[0]), pathlib.Path(__file__).with_name("page.html").read_text())
if page.count("</script") != 3 or page.count("</style") != 1 or ')PAGE"' in page:
    sys.exit("embed.py: the page would end in the middle of its own code")

# Literals that every compiler accepts: a few thousand characters each.
pieces = "".join(f'    R"PAGE({page[i:i + 4000]})PAGE",\n' for i in range(0, len(page), 4000))
output.write_text(f"""// Made by embed.py.
#include "perf/report/report.hpp"

namespace shmif::perf {{

namespace {{
constexpr std::string_view kPieces[] = {{
{pieces}}};
}}  // namespace

std::span<const std::string_view> page_pieces() noexcept {{ return kPieces; }}

}}  // namespace shmif::perf
""")
