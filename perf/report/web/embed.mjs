// embed.mjs OUTPUT.cpp NODE_MODULES: makes the report page as C++, in one piece, with the hashes for its own policy.
import { createHash } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const [output, modules] = process.argv.slice(2);
const here = dirname(fileURLToPath(import.meta.url));
const own = (name) => readFileSync(join(here, name), 'utf8');
const theirs = (name) => readFileSync(join(modules, 'uplot', name), 'utf8');
const hash = (text) => 'sha256-' + createHash('sha256').update(text).digest('base64');
const escape = (text) => text.replaceAll('&', '&amp;').replaceAll('<', '&lt;');

// At least two chart pixels per page pixel: paper and enlarged pages have more pixels than the screen had.
const library = '((devicePixelRatio) => {' + theirs('dist/uPlot.iife.min.js') + '\nglobalThis.uPlot = uPlot;\n})(Math.max(2, devicePixelRatio));\n';
const script = library + "(() => {\n'use strict';\n"
  + ['units.js', 'charts.js', 'causes.js', 'heat.js', 'tables.js', 'measured.js', 'overlay.js', 'page.js'].map(own).join('\n') + '})();\n';
const style = theirs('dist/uPlot.min.css') + '\n' + own('page.css');
if (/<\/(script|style)/i.test(script + style)) throw new Error('the page would end in the middle of its own code');

let page = own('page.html');
for (const [name, text] of Object.entries({ SCRIPT_HASH: hash(script), STYLE_HASH: hash(style), STYLE: style, SCRIPT: script, LICENCE: escape(theirs('LICENSE')) })) {
  page = page.replace(`@${name}@`, () => text);  // a function, so that "$" in the text has no meaning
}

/// String literals that every compiler accepts, each at most a few thousand characters long.
function literals(text) {
  const letters = Array.from(text);
  const pieces = [];
  for (let i = 0; i < letters.length; i += 4000) pieces.push('    R"PAGE(' + letters.slice(i, i + 4000).join('') + ')PAGE",');
  return pieces.join('\n');
}
if (page.includes(')PAGE"')) throw new Error('the page holds what ends a literal');

writeFileSync(output, `// Made by embed.mjs.
#include "perf/report/html.hpp"

namespace shmif::perf {

namespace {
constexpr std::string_view kPieces[] = {
${literals(page)}
};
}  // namespace

std::span<const std::string_view> page_pieces() noexcept { return kPieces; }

}  // namespace shmif::perf
`);
