// Several results on one page: their figures side by side, and their curves over each other. A line's colour tells its
// result; its dashes tell the job, or also the result if each result has one line.
function pageOfSeveral(list) {  // [{name, result}]
  /// Calls `make` for each result. It may call all functions that work on the current result.
  const each = (make) => list.map(({ name, result: one }, i) => {
    use(one);
    manyJobs = many;
    return make(name, i);
  });
  // If one result has many jobs, all results are shown by groups, so that the same things stand side by side.
  let many = false;
  many = each(() => members.length > kMaxJobs).includes(true);

  /// Puts the lines or rows of one job together, in the order of the results. `of` returns the job of a line.
  function byJob(all, of) {
    const jobs = [...new Set(all.flat().map(of))];
    return jobs.map((job) => all.flat().filter((one) => of(one) === job));
  }
  /// The lines of all results. `make` makes the lines of one result. Lines with the same name belong together; labels
  /// may differ, for example because they name the slowest job of a group.
  function linesOf(make) {
    const all = each((file, colour) => make().map((line) => ({ ...line, colour, file })));
    const single = all.every((lines) => lines.length <= 1);
    return byJob(all, (line) => line.name).flatMap((lines, dash) => lines.map((line) => ({ ...line, dash: single ? line.colour : dash, label: `${line.file}: ${line.label}` })));
  }
  /// Rows of all results, each with the name of its result as the first cell. `make` makes the rows of one result.
  const rowsOf = (make) => byJob(each((name) => make().map(([job, ...cells]) => [name, [job, 'words'], ...cells])), (row) => row[1][0]).flat();

  const firstEight = (lines) => (lines.length > 8 ? ' The first eight lines are drawn; click a name to show or hide it.' : '');
  const chartIn = (made, label) => {
    const box = element('div', { class: 'chart', role: 'figure', 'aria-label': label });
    made.append(box);
    return box;
  };
  /// The common time axis: each run begins at 0.
  const span = () => {
    const ends = each(runSpan).filter((one) => one).map((one) => one[1]);
    return ends.length ? [0, Math.max(...ends)] : null;
  };

  function head() {
    const verdicts = each(verdict);
    const failed = verdicts.filter((one) => one === 'FAILED').length;
    const stopped = verdicts.filter((one) => one === 'stopped').length;
    const of = ` of ${units.count(list.length)} `;
    const [badge, kind] = failed ? [failed + of + 'failed', 'failed'] : stopped ? [stopped + of + 'stopped', 'stopped'] : [`all ${units.count(list.length)} passed`, 'passed'];
    const figures = each((name) => mainFigures().slice(0, 1).map(([value, what, its]) => [value, `${what}, ${name}`, its])).flat();
    document.getElementById('head').append(...titleOf(badge, kind, figures),
      element('p', {}, `${units.count(list.length)} results, overlaid: ${list.map(({ name }) => name).join(' · ')}`));
  }

  function results() {
    const commands = element('dl');
    each((name) => commands.append(element('dt', {}, name), element('dd', {}, element('code', {}, commandLine()))));
    section('Results', 'The page of each result alone has the other figures: shmifperf report FILE. Which differences are more than chance: shmifperf compare BEFORE AFTER.',
      table('Results', ['result', 'passed', 'exit code', 'began', 'took', 'runs', 'host', 'kernel', 'shmifperf'], each((name) => [name, [verdict(), verdict() === 'FAILED' ? 'bad' : ''],
        units.count(result.exit_code), began(), units.seconds(result.time.seconds), runsOf() ? units.count(runsOf()) : '1', [where(), 'words'], [known(result.machine.kernel), 'words'],
        result.shmifperf_version])), commands);
  }

  function glance() {
    const runs = Math.max(...each(runsOf));
    section('Side by side', (runs ? 'A result with several runs shows medians; its counts and curves are those of one run. ' : '')
      + 'Latency from the intended send time. Own limit: the rate as a share of the highest rate of the harness itself on its machine.',
      many ? table('Side by side', ['result', 'group', 'jobs', ...kGlance], rowsOf(glanceOfGroups))
        : table('Side by side', ['result', 'job', 'engine', ...kGlance, 'own limit'], rowsOf(glanceOfJobs)));
  }

  function searches() {
    const titles = [...new Set(each(() => [...searchesByTitle().keys()]).flat())];
    for (const title of titles) section(title, null, table(title, ['result', ...kSearch], rowsOf(() => (searchesByTitle().get(title) || []).map(searchRow))));
  }

  function throughput() {
    const shown = new Set(each(() => [...receiving(sourcesWithCurves())]).flat());
    if (!shown.size) return;
    const what = whatOf(shown);
    const lines = (bits) => linesOf(() => throughputLines(sourcesWithCurves(), what, bits, false));
    const ofAxis = element('span');
    const made = section('Throughput over time', [`What was ${what} in each interval` + (many ? ', summed for each group' : '') + '. Each run begins at 0.' + firstEight(lines(true)), ofAxis, ' ' + kZoomHint]);
    const bar = element('div', { class: 'bar' });
    made.append(bar);
    const box = chartIn(made, 'throughput over time');
    const range = span();
    bar.append(choices('unit', [['bits', true], ['frames', false]], (bits) => {
      const all = lines(bits);
      const format = bits ? units.bps : units.fps;
      ofAxis.textContent = logNote(all, format);
      charts.overTime(box, all, format, `${what} (${bits ? 'bit/s' : 'frames/s'})`, [], { span: range, scale: charts.scaleFor(all) });
    }));
  }

  function latencyOverTime() {
    const lines = linesOf(() => latencyLines(slowest(), false));
    if (!lines.length) return;
    const made = section('Latency over time', '99 of 100 frames of an interval were no later than this.' + (many ? ' For each group: the job with the worst p99.' : '') + ' Each run begins at 0.' + firstEight(lines) + ' ' + kZoomHint);
    charts.overTime(chartIn(made, 'latency over time'), lines, units.ns, 'p99 latency', [], { scale: charts.logScale, span: span() });
  }

  head();
  problems(each((name) => problemsOf().map(([kind, what, text]) => [kind, what, `${name}: ${text}`])).flat());
  results();
  glance();
  searches();
  throughput();
  latencies(linesOf(histograms));
  latencyOverTime();
}
